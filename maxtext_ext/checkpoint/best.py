"""Which checkpoint of a run is the best: the one with the lowest word error rate in evaluation.

What the evaluations found stands in `metrics.jsonl`, step by step. A run that goes on from a
checkpoint drops what was written after it, so the file says what was known at that step, and a run
that was cut chooses as one that was not.
"""

import os
from collections.abc import Collection, Sequence
from typing import Any

from etils import epath

from maxtext_ext.evaluate.metrics import METRICS_FILE, read_metrics

# The metric by which checkpoints are chosen.
WER = "eval_wer"


def read_evaluations(run_dir: str) -> list[tuple[int, float]]:
  """Steps after which a run was evaluated, and the word error rate of each; by rising step.

  Raises:
    ValueError: its `metrics.jsonl` is malformed.
  """
  path = os.path.join(run_dir, METRICS_FILE)
  return read_metrics(path, WER) if epath.Path(path).exists() else []


def ranked(run_dir: str, there: Collection[int]) -> list[int]:
  """Those steps among `there` that were evaluated, the best first, and of equals the first."""
  found = [(wer, step) for step, wer in read_evaluations(run_dir) if step in there]
  return [step for _, step in sorted(found)]


class Best:
  """The best evaluation of a run so far; for Orbax, that its checkpoint is kept.

  Args:
    patience: evaluations in a row without a better one that end the run; 0: none do.

  Attributes:
    step: after which it took place; None: there was none.
    wer: its word error rate, a fraction.
    since: evaluations after it, none of them better.
  """

  def __init__(self, patience: int) -> None:
    self._patience = patience
    self.step: int | None = None
    self.wer = float("inf")
    self.since = 0

  def note(self, step: int, wer: float) -> bool:
    """Takes the next evaluation; whether it is the best so far, and better than those before."""
    better = self.step is None or wer < self.wer
    if better:
      self.step, self.wer, self.since = step, wer, 0
    else:
      self.since += 1
    return better

  @property
  def ends_run(self) -> bool:
    """Whether so many evaluations were no better that the run is over."""
    return 0 < self._patience <= self.since

  def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
    """Orbax asks this of all checkpoints at every save; what is not kept goes when it is whole."""
    del context
    return [checkpoint.step == self.step for checkpoint in checkpoints]
