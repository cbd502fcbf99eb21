"""Corpus word, character and mixed error rates, in all and by group."""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from maxtext_ext.evaluate.alignment import count_edits
from maxtext_ext.evaluate.blocks import AUTO, Blocks, find_blocks, sum_by_block
from maxtext_ext.evaluate.bootstrap import REPLICATES, bootstrap_interval
from maxtext_ext.evaluate.counting import get_alignment
from maxtext_ext.evaluate.groups import ALWAYS, DURATION, UNSPECIFIED, group
from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.evaluate.mixed import has_characters, split_units
from maxtext_ext.evaluate.rates import ErrorRate, Score
from maxtext_ext.text.normalize import get_normalizer

__all__ = ["UNSPECIFIED", "ErrorRate", "Method", "Score", "Scores", "Texts", "score"]


class Texts(NamedTuple):
  """Normalised texts of an utterance."""

  reference: str
  hypothesis: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
  """Settings of scoring.

  Attributes:
    alignment: a name in ALIGNMENTS, how edits of words are counted.
    by: fields whose groups are scored, besides language, dataset and duration.
    block: a field, "clip" or "auto": what the bootstrap draws (`find_blocks`).
    replicates: of the bootstrap.
    seed: of the bootstrap.
  """

  alignment: str = "levenshtein"
  by: tuple[str, ...] = ()
  block: str = AUTO
  replicates: int = REPLICATES
  seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
  """Result of score().

  Attributes:
    normalizer: its name.
    groups: scores by field and name of the group.
    blocks: what the intervals were drawn from.
    texts: normalised texts of each utterance, in the order of the input.
    words_U4: hits, substitutions, deletions and insertions of words of each utterance.
  """

  normalizer: str
  method: Method
  overall: Score
  groups: dict[str, dict[str, Score]]
  blocks: Blocks = dataclasses.field(compare=False, repr=False)
  texts: Sequence[Texts] = dataclasses.field(compare=False, repr=False)
  words_U4: np.ndarray = dataclasses.field(compare=False, repr=False)

  @property
  def by_dataset(self) -> dict[str, Score]:
    """Scores of the datasets, in the order of their names."""
    return self.groups["dataset"]

  @property
  def by_language(self) -> dict[str, Score]:
    """Scores of the languages, in the order of their names."""
    return self.groups["language"]

  @property
  def word_edits_U(self) -> np.ndarray:
    """Word edits of each utterance, in the order of the input."""
    return _edits(self.words_U4)

  @property
  def wer(self) -> float:
    """Word error rate of all utterances, a fraction."""
    return self.overall.wer

  @property
  def cer(self) -> float:
    """Character error rate of all utterances, a fraction."""
    return self.overall.cer

  @property
  def has_characters(self) -> bool:
    """Returns whether the mixed error rate differs from the word error rate."""
    return self.overall.mixed != self.overall.words

  def macro(self, field: str = "dataset", rate: str = "words") -> float:
    """Returns the mean of the groups' rates, each group alike; NaN where none has a rate.

    Args:
      field: whose groups.
      rate: "words", "characters" or "mixed".
    """
    rates = [getattr(group, rate).rate for group in self.groups[field].values()]
    finite = [rate for rate in rates if math.isfinite(rate)]
    return math.fsum(finite) / len(finite) if finite else math.nan


def score(
  hypotheses: Sequence[Hypothesis],
  normalizer: str = "basic",
  *,
  seed: int = 0,
  method: Method | None = None,
) -> Scores:
  """Normalises both sides of every utterance, aligns them and sums up.

  Characters are code points of the normalised text, the single spaces between words included. The
  result does not depend on the order of the utterances.

  Args:
    normalizer: a name in maxtext_ext.text.normalize.NORMALIZERS.
    seed: of the bootstrap, where no method is given.

  Raises:
    ValueError: no hypotheses, one without a reference, an unknown normalizer or alignment, or a
      field that none has.
  """
  normalize = get_normalizer(normalizer)
  texts = [Texts(normalize(item.said), normalize(item.hypothesis)) for item in hypotheses]
  return score_texts(hypotheses, texts, normalizer, method or Method(seed=seed))


def score_texts(
  hypotheses: Sequence[Hypothesis], texts: Sequence[Texts], normalizer: str, method: Method
) -> Scores:
  """Scores texts that are normalised already, by a normaliser of this name; else as `score`."""
  if not hypotheses:
    raise ValueError("there are no hypotheses to score")
  count = get_alignment(method.alignment)
  words_U4 = np.array([count(said.split(), heard.split()) for said, heard in texts])
  characters_U4 = np.array([count_edits(said, heard) for said, heard in texts])
  mixed_U4 = words_U4.copy()
  for index, (said, heard) in enumerate(texts):
    if has_characters(said) or has_characters(heard):
      mixed_U4[index] = count(split_units(said), split_units(heard))
  blocks = find_blocks(hypotheses, method.block)
  seconds_U = [item.duration for item in hypotheses]
  cut_U = np.array([item.is_cut for item in hypotheses])

  def rate(counts_U4: np.ndarray, block_U: np.ndarray) -> ErrorRate:
    counts = {name: int(sum) for name, sum in zip(_NAMES, counts_U4.sum(axis=0), strict=True)}
    counts_B4 = sum_by_block(counts_U4, block_U)
    interval = bootstrap_interval(
      _edits(counts_B4),
      _reference_units(counts_B4),
      replicates=method.replicates,
      seed=method.seed,
    )
    return ErrorRate(**counts, interval=interval)

  def summarise(indices: np.ndarray) -> Score:
    block_U, group_words_U4 = blocks.index_U[indices], words_U4[indices]
    words = rate(group_words_U4, block_U)
    same = np.array_equal(group_words_U4, mixed_U4[indices])
    return Score(
      utterances=len(indices),
      seconds=math.fsum(seconds_U[index] for index in indices),  # exact, so free of order
      blocks=len(np.unique(block_U)),
      empty_references=int(np.sum(_reference_units(group_words_U4) == 0)),
      empty_hypotheses=int(np.sum(_hypothesis_units(group_words_U4) == 0)),
      cut=int(np.sum(cut_U[indices])),
      words=words,
      characters=rate(characters_U4[indices], block_U),
      mixed=words if same else rate(mixed_U4[indices], block_U),
    )

  overall = summarise(np.arange(len(hypotheses)))
  fields = dict.fromkeys((*ALWAYS, DURATION, *method.by))
  return Scores(
    normalizer=normalizer,
    method=method,
    overall=overall,
    groups={
      field: {
        name: overall if len(indices) == len(hypotheses) else summarise(indices)
        for name, indices in group(hypotheses, field).items()
      }
      for field in fields
    },
    blocks=blocks,
    texts=texts,
    words_U4=words_U4,
  )


# Columns of a counts_U4 array.
_NAMES = ("hits", "substitutions", "deletions", "insertions")


def _edits(counts_U4: np.ndarray) -> np.ndarray:
  return counts_U4[:, 1:].sum(axis=1)


def _reference_units(counts_U4: np.ndarray) -> np.ndarray:
  return counts_U4[:, :3].sum(axis=1)


def _hypothesis_units(counts_U4: np.ndarray) -> np.ndarray:
  return counts_U4[:, [0, 1, 3]].sum(axis=1)
