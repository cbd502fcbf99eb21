"""Blocks that a bootstrap draws together: the utterances of a speaker, recording or session."""

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np

from maxtext_ext.evaluate.groups import label
from maxtext_ext.evaluate.hypothesis import Hypothesis

AUTO = "auto"
CLIP = "clip"
# Fields that name a block, by kind; of several that a line has, the first counts.
KINDS: dict[str, tuple[str, ...]] = {
  "speaker": ("speaker", "speaker_id", "client_id"),
  "recording": ("recording", "recording_id"),
  "session": ("session", "session_id", "parent_id"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Blocks:
  """Blocks of utterances.

  Attributes:
    kinds: number of blocks of each kind, such as {"speaker": 40, "clip": 3}.
    index_U: block of each utterance, 0 to the number of blocks - 1.
    datasets: that blocks by a field lie in; 1 where there are none but clips.
  """

  kinds: dict[str, int]
  index_U: np.ndarray
  datasets: int = 1

  def __str__(self) -> str:
    """Names numbers and kinds: "40 blocks by speaker and 3 by clip"."""
    (first, count), *more = self.kinds.items()
    parts = [f"{count:,} block{'' if count == 1 else 's'} by {first}"]
    parts += [f"{count:,} by {kind}" for kind, count in more]
    apart = f", each within one of {self.datasets:,} datasets" if self.datasets > 1 else ""
    return " and ".join(parts) + apart


def find_blocks(hypotheses: Sequence[Hypothesis], field: str = AUTO) -> Blocks:
  """Finds the block of each utterance; one without the field is a block of its own.

  Utterances of a speaker share errors, so intervals that draw them one by one are too narrow. The
  same name in two datasets means two blocks.

  Args:
    field: a field of the lines, "clip", or "auto": speaker, else recording, else session, else
      clip. A single block says nothing about chance, so "auto" then takes clips.

  Raises:
    ValueError: no hypothesis has the field.
  """
  kinds: dict[str, tuple[str, ...]] = {AUTO: KINDS, CLIP: {}}.get(field, {field: (field,)})
  keys = [_key(item, kinds) or (CLIP, item.dataset, item.id) for item in hypotheses]
  if field == AUTO and len(set(keys)) < 2:
    keys = [(CLIP, item.dataset, item.id) for item in hypotheses]
  places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
  counts = collections.Counter(kind for kind, _, _ in places)
  if field not in (AUTO, CLIP) and field not in counts:
    raise ValueError(f"no hypothesis has a field {field!r}, by which blocks are to be drawn")
  datasets = {dataset for kind, dataset, _ in places if kind != CLIP}
  return Blocks(
    kinds=dict(counts),
    index_U=np.array([places[key] for key in keys]),
    datasets=len(datasets) or 1,
  )


def _key(hypothesis: Hypothesis, kinds: dict[str, tuple[str, ...]]) -> tuple[str, str, str] | None:
  for kind, fields in kinds.items():
    for field in fields:
      value = hypothesis.field(field)
      if value is not None and value != "":
        return kind, hypothesis.dataset, label(value)
  return None


def sum_by_block(values_UN: np.ndarray, index_U: np.ndarray) -> np.ndarray:
  """Sums rows of the same block; blocks without a row are left out.

  Args:
    values_UN: integers of each utterance.
    index_U: block of each utterance.
  """
  _, block_U = np.unique(index_U, return_inverse=True)
  sums_BN = np.zeros((block_U.max(initial=-1) + 1, values_UN.shape[1]), values_UN.dtype)
  np.add.at(sums_BN, block_U, values_UN)
  return sums_BN
