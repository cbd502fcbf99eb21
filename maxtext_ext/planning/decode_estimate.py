"""Speed of decoding on a slice: seconds of its parts from their costs, for clips of a mix."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from maxtext_ext.planning.calibration import efficiency
from maxtext_ext.planning.clip_mix import ClipMix
from maxtext_ext.planning.cost import Cost, StepCost
from maxtext_ext.planning.decode_shape import DecodeCosts, DecodeMemory, DecodeShape
from maxtext_ext.planning.roofline import StepTime, step_time
from maxtext_ext.planning.topology import Slice

# What decoding reaches, where no published run tells: of the bandwidths of memory and links, of the
# slots, and of the tokens of a row.
BANDWIDTH_SHARE = 0.7
OCCUPANCY = 0.9
ROW_SHARE = 0.9
_NOTHING = Cost(flops=0.0, hbm_bytes=0.0, sent_bytes=0.0)


@dataclass(frozen=True, kw_only=True)
class CountedCosts:
  """Costs of models with (decoder, encoder) layers: one each, a second decoder or encoder layer."""

  base: DecodeCosts
  more_decoder: DecodeCosts
  more_encoder: DecodeCosts

  def total(self, part: Callable[[DecodeCosts], Cost], shape: DecodeShape) -> StepCost:
    """Returns the cost of a part in the model that `shape` describes."""
    base = part(self.base)
    decoder, encoder = part(self.more_decoder).less(base), part(self.more_encoder).less(base)
    return StepCost(
      decoder=decoder * shape.decoder_layers,
      encoder=encoder * shape.encoder_layers,
      rest=base.less(decoder + encoder),
    )


@dataclass(frozen=True, kw_only=True)
class DecodeMemoryPlan:
  """Memory of decoding on a slice; all that is known where it does not fit.

  Attributes:
    memory: with so many slots.
  """

  target: Slice
  shape: DecodeShape
  mix: ClipMix
  memory: DecodeMemory


@dataclass(frozen=True, kw_only=True)
class DecodePlan(DecodeMemoryPlan):
  """Memory and speed of decoding on a slice.

  Attributes:
    costs: from which the times are estimated.
    prefill, encode, step, close, refill: seconds of a row, of windows that are encoded together, of
      a step, of the end of a window and of giving a slot to a clip.
    clip: seconds of a lane for a clip of the mix, on average.
  """

  costs: CountedCosts
  prefill: StepTime
  encode: StepTime
  step: StepTime
  close: StepTime
  refill: StepTime
  clip: StepTime

  @property
  def rtfx(self) -> float:
    """Seconds of audio that the slice decodes in a second."""
    return self.shape.lanes * float(self.mix.seconds.mean()) / self.clip.seconds

  def dollars(self, hours: float) -> float:
    """Returns the price of so many hours of audio."""
    return hours / self.rtfx * self.target.chips * self.target.chip.price.dollars_per_hour


def estimate(
  target: Slice, shape: DecodeShape, mix: ClipMix, memory: DecodeMemory, costs: CountedCosts
) -> DecodePlan:
  """Estimates how long the parts take, one after the other."""
  chip = target.chip
  share = efficiency(chip).share
  slower = replace(
    chip,
    hbm_bandwidth=BANDWIDTH_SHARE * chip.hbm_bandwidth,
    link_bandwidth=BANDWIDTH_SHARE * chip.link_bandwidth,
  )
  slots, block = shape.slots, shape.block_places
  encode = costs.total(lambda costs: costs.encode, shape)
  # A row's program holds the encoding of a few windows, which is counted on its own.
  prefill = costs.total(lambda costs: costs.prefill.less(costs.encode), shape)
  prefill = replace(prefill, encoder=_NOTHING)
  # Of the places behind the first block as many are read as the mix needs.
  further = _moved(slots * shape.place_bytes * (mix.places_read(block) - block))
  step = costs.total(lambda costs: costs.step, shape)
  step = replace(step, decoder=step.decoder + further, encoder=_NOTHING)
  close = costs.total(lambda costs: costs.close, shape)
  close = replace(close, decoder=close.decoder * (mix.places_read(block) / block), encoder=_NOTHING)
  refill = _alone(_moved(2 * shape.place_bytes * shape.longest_places))
  parts = [step_time(cost, slower, share) for cost in (prefill, encode, step, close, refill)]
  steps = float(mix.steps.mean()) / (OCCUPANCY * slots)
  times = (
    float(mix.prompt_tokens.mean()) / (ROW_SHARE * shape.row_tokens),
    float(mix.windows.mean()) / (ROW_SHARE * shape.windows_together),
    steps,
    steps / shape.steps,
    1.0,
  )
  return DecodePlan(
    target=target,
    shape=shape,
    mix=mix,
    memory=memory,
    costs=costs,
    prefill=parts[0],
    encode=parts[1],
    step=parts[2],
    close=parts[3],
    refill=parts[4],
    clip=_sum(parts, times),
  )


def guess_of_slots(shape: DecodeShape) -> int:
  """Guesses how many slots fit beside the weights, with a tenth of the memory for the rest."""
  return int((0.9 * shape.available - shape.weights_bytes) / shape.slot_bytes)


def _moved(nbytes: float) -> Cost:
  return Cost(flops=0.0, hbm_bytes=max(nbytes, 0.0), sent_bytes=0.0)


def _alone(cost: Cost) -> StepCost:
  return StepCost(decoder=cost, encoder=_NOTHING, rest=_NOTHING)


def _sum(parts: list[StepTime], times: tuple[float, ...]) -> StepTime:
  names = ("seconds", "computing", "memory", "sending")
  return StepTime(
    **{
      name: sum(count * getattr(part, name) for part, count in zip(parts, times, strict=True))
      for name in names
    }
  )
