"""Cost of a step (computed, moved and sent), extrapolated from steps of a few layers.

The compiler counts the body of a scanned loop once, whatever its length. So small steps are
compiled whose layers are not scanned: with one layer each, with a second decoder layer, and with a
second encoder layer. The differences are the costs of a layer, and the step's are linear in them.
"""

from dataclasses import dataclass
from typing import Self

# Layers of (decoder, encoder) that are compiled.
BASE, MORE_DECODER, MORE_ENCODER = (1, 1), (2, 1), (1, 2)


@dataclass(frozen=True, kw_only=True)
class Cost:
  """Cost of one step for one chip.

  Attributes:
    flops: floating point operations.
    hbm_bytes: read from and written to memory.
    sent_bytes: to other chips.
  """

  flops: float
  hbm_bytes: float
  sent_bytes: float

  def __add__(self, other: Self) -> Self:
    return type(self)(
      flops=self.flops + other.flops,
      hbm_bytes=self.hbm_bytes + other.hbm_bytes,
      sent_bytes=self.sent_bytes + other.sent_bytes,
    )

  def __mul__(self, times: int | float) -> Self:
    return type(self)(
      flops=self.flops * times,
      hbm_bytes=self.hbm_bytes * times,
      sent_bytes=self.sent_bytes * times,
    )

  def less(self, other: Self) -> Self:
    """Subtracts `other`; never below zero, which noise between programs could give."""
    return type(self)(
      flops=max(self.flops - other.flops, 0.0),
      hbm_bytes=max(self.hbm_bytes - other.hbm_bytes, 0.0),
      sent_bytes=max(self.sent_bytes - other.sent_bytes, 0.0),
    )


@dataclass(frozen=True, kw_only=True)
class StepCost:
  """Costs of the parts of a step, which run one after the other.

  Attributes:
    decoder: all decoder layers.
    encoder: all encoder layers.
    rest: convolutions, embeddings, the head, the optimizer's update of what is in no layer.
  """

  decoder: Cost
  encoder: Cost
  rest: Cost

  @property
  def total(self) -> Cost:
    """The cost of the step."""
    return self.decoder + self.encoder + self.rest

  @property
  def parts(self) -> tuple[Cost, Cost, Cost]:
    """Decoder, encoder, rest."""
    return self.decoder, self.encoder, self.rest

  def of_more_rows(self, fewer: Self, times: int | float) -> Self:
    """Adds so many times what this costs more than a step of fewer rows.

    What does not grow with the rows, as reading and sending weights, is counted once.
    """
    decoder, encoder, rest = (
      part + part.less(of_fewer) * times
      for part, of_fewer in zip(self.parts, fewer.parts, strict=True)
    )
    return type(self)(decoder=decoder, encoder=encoder, rest=rest)

  def times(self, steps: int | float) -> Self:
    """Multiplies by a number of micro-batches; each includes the optimizer's update, in rest."""
    return type(self)(
      decoder=self.decoder * steps, encoder=self.encoder * steps, rest=self.rest * steps
    )


def small_overrides(decoder_layers: int, *, vocab_tiles: int) -> list[str]:
  """Returns keys of a step of a few decoder layers, in which no loop hides a cost.

  Args:
    vocab_tiles: pieces of a row in the loss, of which one is counted: as large as the positions
      with a target are.
  """
  return [
    f"base_num_decoder_layers={decoder_layers}",
    "scan_layers=false",
    "gradient_accumulation_steps=1",
    f"num_vocab_tiling={vocab_tiles}",
  ]


def whole_step(
  base: Cost,
  more_decoder: Cost,
  more_encoder: Cost,
  *,
  decoder_layers: int,
  encoder_layers: int,
) -> StepCost:
  """Computes the cost of a step with that many layers from BASE, MORE_DECODER, MORE_ENCODER."""
  decoder = more_decoder.less(base)
  encoder = more_encoder.less(base)
  return StepCost(
    decoder=decoder * decoder_layers,
    encoder=encoder * encoder_layers,
    rest=base.less(decoder + encoder),
  )
