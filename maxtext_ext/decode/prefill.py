"""The program `prefill`: packed rows of prompts to keys and values in the ready queue."""

import functools
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array

from maxtext_ext import bridge
from maxtext_ext.decode.attention import attend_packed
from maxtext_ext.decode.layers import SplitModel, Weights
from maxtext_ext.decode.shape import MeshDivision, Shape
from maxtext_ext.decode.state import Ready
from maxtext_ext.models.interface import Batch

_TRAIN = bridge.MODEL_MODE_TRAIN


class Prefill:
  """Encodes the audio windows of packed rows, and runs the decoder over their prompts.

  Args:
    platform: of the devices.
  """

  def __init__(
    self, model: SplitModel, division: MeshDivision, shape: Shape, platform: str
  ) -> None:
    self._model, self._config = model, model.config
    self._division, self._shape, self._platform = division, shape, platform

  def __call__(self, weights: Weights, ready: Ready, batch: Batch) -> Ready:
    """Stores a packed row of every lane in its ready queue.

    Args:
      batch: arrays as `input.prompts.pack_prompts` makes them, and `row` [R]: where each lane
        stores its row.
    """
    model = self._model.model(weights)
    audio_RWAD = self._encode(model, batch)
    x_RLD = model.place_audio(batch["inputs"], audio_RWAD, batch["audio_index"], _TRAIN)
    attend = self._attend_packed if self._platform == "cpu" else _attend_by_maxtext
    hidden_RLD, kept = self._model.run_layers(
      weights,
      x_RLD,
      batch["inputs_position"],
      [None] * self._model.depth,
      functools.partial(attend, batch),
    )
    by_lane, cache = self._division.by_lane, self._division.cache
    store = self._division.on_lanes(_store, (cache, cache, by_lane), cache)
    last_RGD = jnp.take_along_axis(hidden_RLD, batch["last"][..., None], axis=1)
    keys, values = (
      [store(old, new.swapaxes(1, 2), batch["row"]) for old, new in zip(olds, news, strict=True)]
      for olds, news in zip((ready.keys, ready.values), zip(*kept, strict=True), strict=True)
    )
    put = self._division.on_lanes(_store_hidden, (by_lane, by_lane, by_lane), by_lane)
    return Ready(keys, values, put(ready.hidden, last_RGD, batch["row"]))

  def _encode(self, model: Any, batch: Batch) -> Array:
    """Computes the audio tokens of the windows that there are, a few of each lane at a time.

    Where windows are encoded one at a time, one of which a half is enough is encoded that far. On
    one device that depends on its own clip alone.
    """
    shape, geometry = self._shape, self._shape.geometry
    mel_RWCFM = model.mel(batch)
    together = shape.windows_together
    full = geometry.chunks_per_window
    sizes = [full // 2, full] if together == 1 and full > 1 else [full]
    tokens = (shape.lanes, shape.windows, geometry.tokens_per_window, self._config.emb_dim)

    def encode_some(number: Array, audio_RWAD: Array) -> Array:
      first = number * together

      def own(x: Array, chunks: int) -> Array:
        return lax.dynamic_slice_in_dim(x, first, together, axis=1)[:, :, :chunks]

      def encode(chunks: int) -> Array:
        some = model.encode_mel(
          own(mel_RWCFM, chunks),
          own(batch["chunk_frames"], chunks),
          own(batch["chunk_segment"], chunks),
        )
        missing = tokens[2] - some.shape[2]
        return jnp.pad(some.astype(audio_RWAD.dtype), ((0, 0), (0, 0), (0, missing), (0, 0)))

      chunks_RWC = own(batch["chunk_frames"], full) > 0
      least = jnp.max(jnp.sum(chunks_RWC, axis=-1))
      which = jnp.searchsorted(jnp.array(sizes), least)
      some = lax.switch(which, [functools.partial(encode, size) for size in sizes])
      return lax.dynamic_update_slice_in_dim(audio_RWAD, some, first, axis=1)

    count = (jnp.max(batch["windows"]) + together - 1) // together
    return lax.fori_loop(0, count, encode_some, jnp.zeros(tokens, self._config.dtype))

  def _attend_packed(
    self, batch: Batch, attention: Any, q_RLNH: Array, k_RLKH: Array, v_RLKH: Array, cache: Any
  ) -> tuple[Array, Any]:
    del attention, cache
    block = self._shape.query_block

    def attend(q: Array, k: Array, v: Array, blocks: Array, count: Array) -> Array:
      tables = blocks[0, 0], blocks[0, 1], blocks[0, 2]
      return attend_packed(q[0], k[0], v[0], *tables, count[0], block=block)[None]

    by_head = NamedSharding(
      self._division.mesh, PartitionSpec(self._division.rows, None, self._division.heads)
    )
    by_lane = self._division.by_lane
    run = self._division.on_lanes(attend, (*[by_head] * 3, by_lane, by_lane), by_head)
    out_RLNH = run(q_RLNH, k_RLKH, v_RLKH, batch["query_blocks"], batch["query_block_count"])
    return out_RLNH, (k_RLKH, v_RLKH)


def _attend_by_maxtext(
  batch: Batch, attention: Any, q_RLNH: Array, k_RLKH: Array, v_RLKH: Array, cache: Any
) -> tuple[Array, Any]:
  """Attends by the kernel of training, over packed prompts."""
  del cache
  segments, positions = batch["inputs_segmentation"], batch["inputs_position"]
  out = attention.attention_op(q_RLNH, k_RLKH, v_RLKH, segments, positions, _TRAIN, [None, None])
  return out, (k_RLKH, v_RLKH)


def _store(ready_1KTH: Array, new_1KLH: Array, row: Array) -> Array:
  first = row[0] * new_1KLH.shape[2]
  return lax.dynamic_update_slice(ready_1KTH, new_1KLH.astype(ready_1KTH.dtype), (0, 0, first, 0))


def _store_hidden(ready_1XD: Array, new_1GD: Array, row: Array) -> Array:
  first = row[0] * new_1GD.shape[1]
  return lax.dynamic_update_slice(ready_1XD, new_1GD.astype(ready_1XD.dtype), (0, first, 0))
