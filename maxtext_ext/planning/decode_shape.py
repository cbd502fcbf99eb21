"""Shape of a decoding engine on a slice, and memory and costs of its programs."""

from dataclasses import dataclass, fields
from typing import Any, Self

from maxtext_ext.planning.cost import Cost
from maxtext_ext.planning.memory import Memory


@dataclass(frozen=True, kw_only=True)
class DecodeShape:
  """Sizes that a plan needs.

  Attributes:
    sharding: how many chips divide what, such as {"data": 4, "tensor": 4}.
    lanes: parts of the slice that decode clips of their own.
    slots: `decode_rows`, of each lane.
    row_tokens: prompt tokens that are prefilled together.
    windows_together: audio windows that are encoded together.
    steps: of a window, at most.
    block_places: places of a slot that are read together.
    longest_places: of a slot for the longest clip.
    weights_bytes: on each chip.
    place_bytes: of the KV cache, for each place of a slot, on each chip.
    slot_bytes: of a slot with `longest_places` and its share of the ready queue, on each chip.
    kv_heads, experts: of the decoder; experts 1: dense.
    encoder_overrides: `compiler.Shape`.
    tokens_per_chunk, chunk_seconds, chunks_per_window: of the encoder.
    available: bytes of memory that a program may use on a chip.
  """

  model: str
  weight_dtype: str
  sharding: dict[str, int]
  lanes: int
  slots: int
  row_tokens: int
  windows_together: int
  steps: int
  block_places: int
  longest_places: int
  weights_bytes: float
  place_bytes: float
  slot_bytes: float
  kv_heads: int
  experts: int
  decoder_layers: int
  encoder_layers: int
  encoder_overrides: list[list[str]]
  tokens_per_chunk: int
  chunk_seconds: float
  chunks_per_window: int
  available: float


@dataclass(frozen=True, kw_only=True)
class DecodeMemory:
  """Bytes on each chip while slots are decoded.

  Attributes:
    weights, cache, ready: arrays that stay.
    total: all of it, as the compiler counts it; only this is known of a program that it refused.
    compiling_seconds: that it took.
  """

  weights: float
  cache: float
  ready: float
  total: Memory
  compiling_seconds: float

  @property
  def temporaries(self) -> float | None:
    """Bytes of the larger program beside the arrays; None: the compiler refused it before them."""
    rest = self.total.used - self.weights - self.cache - self.ready
    return min(self.total.temporaries, rest) if rest >= 0 else None

  @classmethod
  def from_answer(cls, answer: dict[str, Any]) -> Self:
    """Reads what the compiling process answers."""
    return cls(**{**answer, "total": Memory(**answer["total"])})


@dataclass(frozen=True, kw_only=True)
class DecodeCosts:
  """Costs for one chip of the parts of decoding, in a model of some layers.

  Attributes:
    prefill: of a row, the audio windows of `encode` included.
    encode: of as many audio windows as are encoded together.
    step: of all slots, which read one block of places.
    close: the end of a window.
  """

  prefill: Cost
  encode: Cost
  step: Cost
  close: Cost

  @classmethod
  def from_answer(cls, answer: dict[str, dict[str, float]]) -> Self:
    """Reads what the compiling process answers."""
    return cls(**{field.name: Cost(**answer[field.name]) for field in fields(cls)})
