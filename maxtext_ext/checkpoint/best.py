"""The best checkpoint of a run: the lowest word error rate in evaluation, the newest of equals.

`metrics.jsonl` has the results of evaluations, step by step. A run that resumes from a checkpoint
drops what was written after it, so an interrupted run makes the same choices as an uninterrupted
one.
"""

import os
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from etils import epath

from maxtext_ext.files.jsonl import METRICS_FILE, read_metrics

# Metrics of an evaluation; checkpoints are chosen by the first.
_WER, _LOSS = "eval_wer", "eval_loss"


def read_evaluations(run_dir: str, until: int | None = None) -> list[tuple[int, float | None]]:
  """Steps after which a run was evaluated, by rising step.

  Args:
    until: the last step that counts; None: all do.

  Returns:
    each step with its word error rate, a fraction; None where nothing was transcribed.

  Raises:
    ValueError: its `metrics.jsonl` is malformed.
  """
  path = os.path.join(run_dir, METRICS_FILE)
  if not epath.Path(path).exists():
    return []
  rates = dict(read_metrics(path, _WER))
  steps = rates.keys() | dict(read_metrics(path, _LOSS)).keys()
  return [(step, rates.get(step)) for step in sorted(steps) if until is None or step <= until]


def ranked(run_dir: str, there: Collection[int]) -> list[int]:
  """Ranks the steps in `there` with transcripts: the best first, and of equals the newest."""
  evaluated = read_evaluations(run_dir)
  found = [(wer, -step) for step, wer in evaluated if wer is not None and step in there]
  return [-step for _, step in sorted(found)]


class Best:
  """The best evaluation of a run so far; for Orbax, that its checkpoint is kept.

  Args:
    patience: evaluations in a row without a lower word error rate that end the run; 0: none do.

  Attributes:
    step: after which it took place; None: there was none.
    wer: its word error rate, a fraction.
    lowest: word error rate of all evaluations, also where the checkpoint is gone.
    since: evaluations after the first with the lowest.
  """

  def __init__(self, patience: int) -> None:
    self._patience = patience
    self.step: int | None = None
    self.wer = self.lowest = float("inf")
    self.since = 0

  def restore(self, past: Iterable[tuple[int, float | None]], there: Collection[int]) -> None:
    """Takes the evaluations before an interruption; `there` are the steps of its checkpoints."""
    for step, wer in past:
      if wer is None:
        continue
      if step in there:
        self.note(step, wer)
      else:
        self._count(wer)

  def note(self, step: int, wer: float) -> bool:
    """Takes the next evaluation; returns whether none before was better."""
    self._count(wer)
    best = self.step is None or wer <= self.wer
    if best:
      self.step, self.wer = step, wer
    return best

  def _count(self, wer: float) -> None:
    self.since = 0 if wer < self.lowest else self.since + 1
    self.lowest = min(self.lowest, wer)

  @property
  def ends_run(self) -> bool:
    """Returns whether so many evaluations in a row were no better that training stops."""
    return 0 < self._patience <= self.since

  def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
    """Tells Orbax at every save which checkpoints to keep; it removes the others when complete."""
    del context
    return [checkpoint.step == self.step for checkpoint in checkpoints]
