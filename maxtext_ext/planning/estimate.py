"""Plan of a run: whether it fits, how long a step takes, what an epoch costs."""

from dataclasses import dataclass

from maxtext_ext.planning.compiler import Shape
from maxtext_ext.planning.cost import StepCost
from maxtext_ext.planning.memory import Memory
from maxtext_ext.planning.model_flops import SLOTS_FILLED
from maxtext_ext.planning.roofline import StepTime
from maxtext_ext.planning.topology import Slice


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
  """Memory, cost and time of a configuration on a slice.

  Attributes:
    cost: of one chip, with all its micro-batches; None where the step does not fit.
    time: of a step; None likewise.
    compiling_seconds: that the compiler took for all of it.
  """

  target: Slice
  shape: Shape
  memory: Memory
  cost: StepCost | None
  time: StepTime | None
  compiling_seconds: float

  @property
  def audio_seconds_per_step(self) -> float:
    """Seconds of real audio in all rows."""
    windows = self.shape.rows * self.shape.windows_per_row
    return windows * self.shape.window_seconds * SLOTS_FILLED

  @property
  def audio_seconds_per_chip_second(self) -> float:
    """Audio trained on by one chip in one second."""
    return self.audio_seconds_per_step / (self._seconds * self.target.chips)

  @property
  def mfu(self) -> float:
    """The model's own FLOPs as a share of what the chips' peaks would do in that time."""
    return self.shape.model_flops / (self._seconds * self.target.chips * self.target.chip.flops)

  @property
  def _seconds(self) -> float:
    assert self.time is not None, "a step that does not fit takes no time"
    return self.time.seconds


@dataclass(frozen=True, kw_only=True)
class Epoch:
  """Hours and price of one pass over a dataset."""

  audio_hours: float
  hours: float
  dollars: float


def epoch(plan: MemoryPlan, audio_hours: float) -> Epoch:
  """Computes hours and dollars of one pass over so much audio, without loading and saving."""
  hours = audio_hours / (plan.audio_seconds_per_chip_second * plan.target.chips)
  dollars = hours * plan.target.chips * plan.target.chip.price.dollars_per_hour
  return Epoch(audio_hours=audio_hours, hours=hours, dollars=dollars)
