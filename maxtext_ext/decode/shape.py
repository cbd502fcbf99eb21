"""Static shapes of the decoding programs, and how their arrays are divided over a mesh."""

from dataclasses import dataclass
from typing import Any, cast

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from maxtext_ext import bridge
from maxtext_ext.audio.geometry import Geometry
from maxtext_ext.decode.attention import BUFFERED
from maxtext_ext.decode.state import Pool, Ready
from maxtext_ext.models.encoders import encoder_config

MIN_PROMPT = 8  # tokens; a row holds at most row_tokens / MIN_PROMPT clips
_HEAD_AXES = ("tensor", "tensor_transpose", "tensor_sequence")  # MaxText's, of attention heads

_ALIGNED = 128  # places; slots have a multiple of it
_BLOCKS = {"cpu": 128, "tpu": 256}  # places of a block; elsewhere kernels read what is used
_ROW_TOKENS = {"cpu": 512}  # of packed rows for all but long clips
_DEFAULT_ROW_TOKENS = 2048
_STEPS = 8  # sizes of slots differ by about an eighth


@dataclass(frozen=True, kw_only=True)
class Shape:
  """Shapes of the programs for clips of one size; a lane is the part of one device.

  Attributes:
    lanes: R, devices that a batch is divided over.
    slots: clips that a lane decodes together.
    row_tokens: L, prompt tokens of a packed row.
    rows: Q, rows of prefilled clips that wait for a slot, of each lane.
    windows: W, most audio windows of a row.
    windows_together: windows of a lane that are encoded at once.
    query_block: queries of a clip that attend together in a packed row.
    block_places: places of a block of the KV cache; 0: all places of a slot are one block.
    steps: K, most steps between two reads of what was written.
    geometry: the encoder's.
    audio_dtype: of the samples.
  """

  lanes: int
  slots: int
  row_tokens: int
  rows: int
  windows: int
  windows_together: int
  query_block: int
  block_places: int
  steps: int
  geometry: Geometry
  audio_dtype: str

  @classmethod
  def of(
    cls, config: bridge.Config, mesh: Mesh, *, slots: int, row_tokens: int, platform: str
  ) -> "Shape":
    """Chooses the shapes of rows of `row_tokens` tokens for `slots` clips a lane."""
    geometry = encoder_config(config).geometry
    together = 1 if platform == "cpu" else 4
    windows = row_tokens // geometry.tokens_per_window + 5
    return cls(
      lanes=MeshDivision(config, mesh).lanes,
      slots=slots,
      row_tokens=row_tokens,
      rows=max(1, 2 * slots * _ALIGNED // row_tokens),
      windows=-(-windows // together) * together,
      windows_together=together,
      query_block=max(64, row_tokens // 16),
      block_places=_BLOCKS.get(platform, 0),
      steps=32 if platform in BUFFERED else 128,
      geometry=geometry,
      audio_dtype=config.audio_dtype,
    )

  @property
  def clips(self) -> int:
    """G, most clips of a row."""
    return self.row_tokens // MIN_PROMPT

  @property
  def entries(self) -> int:
    """Most clips of a lane that wait for a slot."""
    return self.rows * self.clips

  @property
  def query_blocks(self) -> int:
    """Most blocks of queries of a row."""
    return self.row_tokens // self.query_block + self.clips


def row_tokens_of(platform: str) -> int:
  """Returns the prompt tokens of a packed row, for all but long clips."""
  return _ROW_TOKENS.get(platform, _DEFAULT_ROW_TOKENS)


def round_places(places: int) -> int:
  """Rounds up to a size of slots: 128, 256, ... 1024, then by steps of about an eighth."""
  step = _ALIGNED
  while step * _STEPS < places:
    step *= 2
  return -(-places // step) * step


class MeshDivision:
  """Division of arrays over a mesh: lanes over its data axes, heads over its tensor axes."""

  def __init__(self, config: bridge.Config, mesh: Mesh) -> None:
    self.mesh = mesh
    self.rows = bridge.input_sharding(config, mesh).spec[0]
    self.lanes = _size(mesh, self.rows)
    heads = tuple(axis for axis in _HEAD_AXES if mesh.shape.get(axis, 1) > 1)
    self.heads = heads if heads and config.num_kv_heads % _size(mesh, heads) == 0 else None

  @property
  def local_lanes(self) -> int:
    """Lanes of this host."""
    return max(1, self.lanes // jax.process_count())

  @property
  def by_lane(self) -> NamedSharding:
    """Sharding of arrays whose first axis counts lanes, or their slots."""
    return NamedSharding(self.mesh, PartitionSpec(self.rows))

  @property
  def cache(self) -> NamedSharding:
    """Sharding of keys and values: [lanes or slots, heads, ...]."""
    return NamedSharding(self.mesh, PartitionSpec(self.rows, self.heads))

  @property
  def everywhere(self) -> NamedSharding:
    """Sharding of what every device has."""
    return NamedSharding(self.mesh, PartitionSpec())

  @property
  def pool(self) -> Any:
    """Shardings of a pool: a prefix of its tree."""
    return Pool(*cast(Any, (self.cache, self.cache, self.by_lane)))

  @property
  def ready(self) -> Any:
    """Shardings of the ready queue: a prefix of its tree."""
    return Ready(*cast(Any, (self.cache, self.cache, self.by_lane, self.by_lane)))

  def on_lanes(self, function: Any, ins: Any, outs: Any) -> Any:
    """Applies a function to the part of each lane.

    Args:
      ins, outs: shardings of its arguments and results.
    """
    specs = jax.tree.map(lambda sharding: sharding.spec, (ins, outs))
    return jax.shard_map(
      function, mesh=self.mesh, in_specs=specs[0], out_specs=specs[1], check_vma=False
    )


def _size(mesh: Mesh, axes: Any) -> int:
  names = (axes,) if isinstance(axes, str) else tuple(axes or ())
  size = 1
  for name in names:
    size *= mesh.shape[name]
  return size
