"""Seconds of a step from its cost and a chip's peaks."""

from dataclasses import dataclass

from maxtext_ext.planning.cost import StepCost
from maxtext_ext.planning.topology import Chip


@dataclass(frozen=True, kw_only=True)
class StepTime:
  """Seconds of one step, and what they would be if only one thing limited it."""

  seconds: float
  computing: float
  memory: float
  sending: float

  @property
  def bound(self) -> str:
    """Returns the bottleneck: computing, memory or sending."""
    return max(("computing", "memory", "sending"), key=lambda name: getattr(self, name))


def step_time(cost: StepCost, chip: Chip, share: float) -> StepTime:
  """Adds up the parts of a step; within one, its slowest resource hides the other two.

  Args:
    share: of the chip's published FLOP/s, that it reaches.
  """
  limits = [
    (
      part.flops / (chip.flops * share),
      part.hbm_bytes / chip.hbm_bandwidth,
      part.sent_bytes / chip.link_bandwidth,
    )
    for part in cost.parts
  ]
  computing, memory, sending = (sum(column) for column in zip(*limits, strict=True))
  return StepTime(
    seconds=sum(max(limit) for limit in limits),
    computing=computing,
    memory=memory,
    sending=sending,
  )
