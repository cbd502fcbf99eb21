"""Calibration: the share of its published peak that a chip reaches, from published runs.

`published.json` holds what the steps of `published.RUNS` cost, counted by the planner's own way
(`python benchmarks/calibrate.py`). The share of the peak that makes the estimate of a run equal to
its measured time is that run's; a generation's is the median of its runs. The error of an estimate
is the largest that a run of the generation gets from its other runs; for a chip without any, that a
run gets from those of other generations.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from statistics import median

from maxtext_ext.planning.cost import Cost, StepCost
from maxtext_ext.planning.published import RUNS, PublishedRun
from maxtext_ext.planning.roofline import StepTime, step_time
from maxtext_ext.planning.topology import Chip, parse_topology

COUNTED = "published.json"


@dataclass(frozen=True, kw_only=True)
class CountedRun:
  """A published run and the cost of its step for a chip."""

  run: PublishedRun
  cost: StepCost

  @property
  def chip(self) -> Chip:
    """The chip that it ran on."""
    return parse_topology(self.run.topology).chip

  def estimate(self, share: float) -> StepTime:
    """Estimates the time of its step at a share of the peak."""
    return step_time(self.cost, self.chip, share)

  @property
  def share(self) -> float:
    """The share of the peak at which the estimate is the measured time, at most 1."""
    low, high = 0.01, 1.0
    for _ in range(50):
      middle = (low + high) / 2
      slower = self.estimate(middle).seconds > self.run.seconds
      low, high = (middle, high) if slower else (low, middle)
    return high


@dataclass(frozen=True, kw_only=True)
class Efficiency:
  """Share of its peak that a chip reaches, counting recomputation as work.

  Attributes:
    share: of the published peak.
    error: of an estimate with it, as a share of the time.
    basis: where both come from.
  """

  share: float
  error: float
  basis: str


def from_json(text: str, runs: Sequence[PublishedRun] = RUNS) -> list[CountedRun]:
  """Returns those of `runs` whose cost was counted."""
  costs: Mapping[str, Mapping[str, Mapping[str, float]]] = json.loads(text)
  return [
    CountedRun(
      run=run,
      cost=StepCost(**{part: Cost(**amounts) for part, amounts in costs[run.name].items()}),
    )
    for run in runs
    if run.name in costs
  ]


@functools.cache
def counted_runs(runs: tuple[PublishedRun, ...] = RUNS) -> tuple[CountedRun, ...]:
  """Returns the counted runs of the file in this package."""
  text = resources.files(__package__).joinpath(COUNTED).read_text("utf-8")
  return tuple(from_json(text, runs))


def efficiency(chip: Chip, runs: Sequence[CountedRun] | None = None) -> Efficiency:
  """Returns the efficiency of a generation; of all generations where it has no run.

  Args:
    runs: to fit to; default: the package's.
  """
  runs = counted_runs() if runs is None else runs
  own = [run for run in runs if run.chip == chip]
  if own:
    return Efficiency(
      share=median(run.share for run in own),
      error=max(abs(left_out_error(run, runs)) for run in own),
      basis=f"{len(own)} published MaxText run{'s' * (len(own) > 1)} on {chip.name}",
    )
  others = [[other for other in runs if other.chip != run.chip] or runs for run in runs]
  errors = [abs(error_of(run, other)) for run, other in zip(runs, others, strict=True)]
  return Efficiency(
    share=median(run.share for run in runs),
    error=max(errors),
    basis=f"{len(runs)} published MaxText runs on other chips",
  )


def left_out_error(run: CountedRun, runs: Sequence[CountedRun]) -> float:
  """Computes `error_of` a run fitted to the others of its generation, else to all others."""
  others = [other for other in runs if other.run != run.run]
  return error_of(run, [other for other in others if other.chip == run.chip] or others)


def error_of(run: CountedRun, fitted_to: Sequence[CountedRun]) -> float:
  """Computes how much longer a run's estimate is than its measured time, as a share of that."""
  return run.estimate(median(other.share for other in fitted_to)).seconds / run.run.seconds - 1
