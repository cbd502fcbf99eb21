"""Compilation of the programs of decoding for chips that are not present."""

import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from maxtext_ext import bridge
from maxtext_ext.decode import lowering
from maxtext_ext.decode.beam_text import check_beams
from maxtext_ext.decode.controls import budget
from maxtext_ext.decode.layers import SplitModel, Weights
from maxtext_ext.decode.programs import Programs
from maxtext_ext.decode.shape import MeshDivision, Shape, round_places, row_tokens_of
from maxtext_ext.models.encoders import encoder_config
from maxtext_ext.models.make import make_model
from maxtext_ext.planning import memory
from maxtext_ext.planning.clip_mix import LONGEST, ClipMix
from maxtext_ext.planning.compile_step import WITHOUT_LOOPS, compile_or_refuse, cost_of
from maxtext_ext.planning.cost import Cost
from maxtext_ext.planning.decode_shape import DecodeCosts, DecodeMemory, DecodeShape
from maxtext_ext.planning.memory import DoesNotFit, Memory

_SAMPLE = 256  # slots of which one's share is computed


def nbytes(tree: Any) -> float:
  """Adds up the bytes of arrays on one chip; of shapes without sharding, all of them."""
  total = 0
  for x in jax.tree.leaves(tree):
    placement = getattr(x.sharding, "sharding", x.sharding)  # of a format with a layout
    shape = placement.shard_shape(x.shape) if placement is not None else x.shape
    total += int(np.prod(shape)) * x.dtype.itemsize
  return float(total)


class DecodeCompiler:
  """The programs of a configuration on a mesh, lowered from shapes.

  Args:
    platform: of the devices.
    available: bytes of memory that a program may use on a device.

  Raises:
    ValueError: the configuration asks for beam search, which no plan counts.
  """

  def __init__(
    self, config: bridge.Config, devices: Sequence[jax.Device], platform: str, available: float
  ) -> None:
    if config.beams > 1:
      check_beams(config)
      raise ValueError(
        f"beams is {config.beams}, expected 1, as plans are of greedy decoding; leave beams out"
      )
    self._config, self._platform, self._available = config, platform, available
    self._mesh = bridge.make_mesh(config, devices)
    self._chips = len(devices)
    self._division = MeshDivision(config, self._mesh)
    self._model = SplitModel(config, self._mesh)
    with self._scope():
      make = lambda: make_model(config, self._mesh)  # noqa: E731
      params = bridge.abstract_params(config, self._mesh, make)
      self._weights: Weights = self._model.weights(params)

  def describe(self) -> DecodeShape:
    """Returns what a plan needs to know."""
    config, encoder = self._config, encoder_config(self._config)
    programs = self._programs(_SAMPLE)
    geometry, shape = encoder.geometry, programs.shape
    mix = ClipMix(
      median=LONGEST,
      tokens_per_chunk=geometry.tokens_per_chunk,
      chunk_seconds=geometry.chunk_seconds,
      chunks_per_window=geometry.chunks_per_window,
    )
    text = min(config.max_new_tokens, budget(config.tokens_per_second, LONGEST))
    longest = int(mix.prompt_tokens[-1]) + text
    pool = programs.abstract_pool(round_places(longest))
    return DecodeShape(
      model=config.model_name,
      weight_dtype=str(jax.numpy.dtype(config.weight_dtype)),
      sharding={axis: size for axis, size in self._mesh.shape.items() if size > 1},
      lanes=shape.lanes,
      slots=config.decode_rows,
      row_tokens=shape.row_tokens,
      windows_together=shape.windows_together,
      steps=shape.steps,
      block_places=shape.block_places or 128,
      longest_places=pool.places,
      weights_bytes=nbytes(self._weights),
      place_bytes=nbytes((pool.keys, pool.values)) / (_SAMPLE * pool.places),
      slot_bytes=nbytes((pool, programs.abstract_ready())) / _SAMPLE,
      kv_heads=config.num_kv_heads,
      experts=config.num_experts,
      decoder_layers=config.num_decoder_layers,
      encoder_layers=encoder.layers,
      encoder_overrides=[encoder.layer_overrides(n) for n in (1, 2) if encoder.layers],
      tokens_per_chunk=geometry.tokens_per_chunk,
      chunk_seconds=geometry.chunk_seconds,
      chunks_per_window=geometry.chunks_per_window,
      available=self._available,
    )

  def memory(self, slots: int, places: int, effort: str) -> DecodeMemory:
    """Compiles both programs as the engine runs them; what else they use stays meanwhile.

    Args:
      slots: of each lane.
      places: of each slot.
      effort: the compiler's, O0 to O3.
    """
    began = time.monotonic()
    programs = self._programs(slots)
    pool, ready = programs.abstract_pool(places), programs.abstract_ready()
    options = {"optimization_level": effort} if self._platform == "tpu" else {}
    with self._scope():
      window = lowering.lower_window(programs, self._weights, places)
      prefill = lowering.lower_prefill(programs, self._weights)
    cache = nbytes(pool)
    uses = [self._compile(window, options), self._compile(prefill, options, beside=cache)]
    return DecodeMemory(
      weights=nbytes(self._weights),
      cache=cache,
      ready=nbytes(ready),
      total=max(uses, key=lambda use: use.used),
      compiling_seconds=time.monotonic() - began,
    )

  def costs(self, slots: int) -> DecodeCosts:
    """Counts what each part costs, in a model whose layers are not scanned.

    Raises:
      DoesNotFit: a part needs more memory than a chip has, even with so few layers.
    """
    programs = self._programs(slots)
    alone = self._programs(1)  # a short ready queue: writing a row would count as writing all of it
    block = self._programs(slots).shape.block_places or 128
    with self._scope():
      encode = self._lower_encoding(alone)
      return DecodeCosts(
        prefill=self._count(lowering.lower_prefill(alone, self._weights)),
        encode=self._count(encode),
        step=self._count(lowering.lower_step(programs, self._weights, block)),
        close=self._count(lowering.lower_close(programs, block)),
      )

  def _lower_encoding(self, programs: Programs) -> Any:
    shape, geometry = programs.shape, programs.shape.geometry
    chunks = (shape.lanes, shape.windows_together, geometry.chunks_per_window)
    mel = (*chunks, geometry.frames_per_chunk, encoder_config(self._config).num_mel_bins)
    place = self._division.by_lane

    def encode(weights: Weights, mel: Any, frames: Any, segment: Any) -> Any:
      return self._model.model(weights).encode_mel(mel, frames, segment)

    return jax.jit(encode, out_shardings=place).lower(
      self._weights,
      jax.ShapeDtypeStruct(mel, np.float32, sharding=place),
      *[jax.ShapeDtypeStruct(chunks, np.int32, sharding=place)] * 2,
    )

  def _scope(self) -> Any:
    return bridge.mesh_scope(self._config, self._mesh)

  def _programs(self, slots: int) -> Programs:
    row_tokens = row_tokens_of(self._platform)
    shape = Shape.of(
      self._config, self._mesh, slots=slots, row_tokens=row_tokens, platform=self._platform
    )
    return Programs(
      self._model,
      self._mesh,
      shape,
      eos_ids=(0, 1),
      vocab_size=self._config.vocab_size,
      repeats=self._config.loop_repeats,
      platform=self._platform,
      announce=False,
    )

  def _compile(self, lowered: Any, options: dict[str, Any], beside: float = 0.0) -> Memory:
    use = compile_or_refuse(lowered, options)
    if not isinstance(use, Memory):
      use = memory.of_compiled(use.memory_analysis(), self._available)
    return Memory(
      arguments=use.arguments + beside, temporaries=use.temporaries, available=use.available
    )

  def _count(self, lowered: Any) -> Cost:
    options = {"optimization_level": "O0", **WITHOUT_LOOPS}
    compiled = compile_or_refuse(lowered, options)
    if isinstance(compiled, Memory):
      raise DoesNotFit(
        "programs of few layers, whose costs are counted, need"
        f" {compiled.used / memory.GIB:.1f} of {compiled.available / memory.GIB:.2f} GiB a chip:"
        " lower decode_rows"
      )
    return cost_of(compiled, self._chips)
