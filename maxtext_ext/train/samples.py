"""Sample transcripts of every evaluation, to be read by people."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from maxtext_ext.evaluate.hypotheses import Hypothesis
from maxtext_ext.evaluate.wer import score

# The file in the folder of a run.
SAMPLES_FILE = "samples.jsonl"


@dataclass(frozen=True, kw_only=True)
class Sample:
  """One clip of an evaluation, texts as they were written.

  Attributes:
    wer: its word error rate, a fraction; None where nothing was said but words were written.
  """

  id: str
  dataset: str
  reference: str
  hypothesis: str
  wer: float | None


def choose(hypotheses: Sequence[Hypothesis], count: int, normalizer: str) -> tuple[Sample, ...]:
  """Chooses so many of the clips: the same ones at every evaluation, in the same order."""
  # By a hash, since the order of the clips depends on the number of hosts.
  ordered = sorted(hypotheses, key=lambda clip: (_hash(clip), clip.hypothesis))
  return tuple(
    Sample(
      id=clip.id,
      dataset=clip.dataset,
      reference=clip.said,
      hypothesis=clip.hypothesis,
      wer=wer if math.isfinite(wer := score([clip], normalizer).wer) else None,
    )
    for clip in ordered[:count]
  )


def _hash(clip: Hypothesis) -> bytes:
  return hashlib.sha256(f"{clip.dataset}\n{clip.id}".encode()).digest()


def to_markdown(samples: Sequence[Sample]) -> str:
  """Renders a table for TensorBoard."""
  rows = ["| id | reference | hypothesis | WER |", "|---|---|---|---:|"]
  for sample in samples:
    wer = "" if sample.wer is None else f"{sample.wer:.0%}"
    cells = (sample.id, sample.reference, sample.hypothesis, wer)
    rows.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
  return "\n".join(rows)


def _cell(text: str) -> str:
  """Escapes what would end a cell or a row of the table."""
  return " ".join(text.replace("|", "\\|").split())
