"""Which checkpoint of a run is the best: the one with the lowest word error rate in evaluation.

What the evaluations found stands in `metrics.jsonl`, step by step. A run that goes on from a
checkpoint drops what was written after it, so the file says what was known at that step, and a run
that was cut chooses as one that was not.
"""

import os
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from etils import epath

from maxtext_ext.evaluate.metrics import METRICS_FILE, read_metrics

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
  """Those steps among `there` that were transcribed, the best first, and of equals the first."""
  evaluated = read_evaluations(run_dir)
  found = [(wer, step) for step, wer in evaluated if wer is not None and step in there]
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

  def restore(self, past: Iterable[tuple[int, float | None]], there: Collection[int]) -> None:
    """Takes the evaluations before a run was cut; `there` are the steps of its checkpoints."""
    for step, wer in past:
      # Of what is gone, nothing can be the best.
      if wer is not None and (step in there or not self._is_better(wer)):
        self.note(step, wer)

  def note(self, step: int, wer: float) -> bool:
    """Takes the next evaluation; whether it is better than all before."""
    better = self._is_better(wer)
    if better:
      self.step, self.wer, self.since = step, wer, 0
    else:
      self.since += 1
    return better

  def _is_better(self, wer: float) -> bool:
    return self.step is None or wer < self.wer

  @property
  def ends_run(self) -> bool:
    """Whether so many evaluations were no better that the run is over."""
    return 0 < self._patience <= self.since

  def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
    """Orbax asks this of all checkpoints at every save; what is not kept goes when it is whole."""
    del context
    return [checkpoint.step == self.step for checkpoint in checkpoints]
