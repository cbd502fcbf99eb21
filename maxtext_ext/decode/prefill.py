"""The program `prefill`: packed rows of prompts to keys and values in the ready queue."""

import functools
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array

from maxtext_ext import bridge
from maxtext_ext.decode import drafts
from maxtext_ext.decode.attention import attend_packed
from maxtext_ext.decode.layers import SplitModel, Weights
from maxtext_ext.decode.shape import MeshDivision, Shape
from maxtext_ext.decode.state import Ready, State
from maxtext_ext.models.interface import Batch

_TRAIN = bridge.MODEL_MODE_TRAIN


class Prefill:
  """Encodes the audio windows of packed rows, and runs the decoder over their prompts.

  Args:
    vocab_size, repeats: as `drafts.verify`.
    platform: of the devices.
  """

  def __init__(
    self,
    model: SplitModel,
    division: MeshDivision,
    shape: Shape,
    *,
    vocab_size: int,
    repeats: int,
    platform: str,
  ) -> None:
    self._model, self._config = model, model.config
    self._division, self._shape, self._platform = division, shape, platform
    self._vocab_size, self._repeats = vocab_size, repeats

  def __call__(self, weights: Weights, ready: Ready, batch: Batch) -> Ready:
    """Stores a packed row of every lane in its ready queue.

    Args:
      batch: arrays as `slots.pack_rows` makes them: `row` [R] is where each lane stores its row.
    """
    model = self._model.model(weights)
    hidden_RLD, kept = self._run(model, weights, batch)
    written = drafts.nothing_written(*batch["last"].shape)
    return self._store(ready, batch, hidden_RLD, kept, written)

  def verify(self, weights: Weights, ready: Ready, batch: Batch) -> tuple[Ready, Array, Array]:
    """Does the same with rows that have drafts, and keeps what it accepts of them.

    Args:
      batch: also has the arrays of `drafts.draft_arrays`.

    Returns:
      the queue, how many tokens of each clip's draft were accepted [R, G], and the
      log-probabilities of draft tokens by their places [R, L].
    """
    model = self._model.model(weights)
    hidden_RLD, kept = self._run(model, weights, batch)
    written, log_prob_RL = drafts.verify(
      model,
      hidden_RLD,
      batch,
      vocab_size=self._vocab_size,
      repeats=self._repeats,
      platform=self._platform,
    )
    ready = self._store(ready, batch, hidden_RLD, kept, written)
    return ready, written["accepted"], log_prob_RL

  def _run(self, model: Any, weights: Weights, batch: Batch) -> tuple[Array, list[Any]]:
    """Computes the hidden states of a row, and the keys and values of every layer."""
    audio_RWAD = self._encode(model, batch)
    x_RLD = model.place_audio(batch["inputs"], audio_RWAD, batch["audio_index"], _TRAIN)
    attend = self._attend_packed if self._platform == "cpu" else _attend_by_maxtext
    return self._model.run_layers(
      weights,
      x_RLD,
      batch["inputs_position"],
      [None] * self._model.depth,
      functools.partial(attend, batch),
    )

  def _store(
    self, ready: Ready, batch: Batch, hidden_RLD: Array, kept: list[Any], written: State
  ) -> Ready:
    by_lane, cache = self._division.by_lane, self._division.cache
    store = self._division.on_lanes(_store, (cache, cache, by_lane), cache)
    last_RG = batch["last"] + written["accepted"]
    last_RGD = jnp.take_along_axis(hidden_RLD, last_RG[..., None], axis=1)
    keys, values = (
      [store(old, new.swapaxes(1, 2), batch["row"]) for old, new in zip(olds, news, strict=True)]
      for olds, news in zip((ready.keys, ready.values), zip(*kept, strict=True), strict=True)
    )
    put = self._division.on_lanes(_store_by_clip, (by_lane, by_lane, by_lane), by_lane)
    put_new = {key: put(ready.written[key], new, batch["row"]) for key, new in written.items()}
    return Ready(keys, values, put(ready.hidden, last_RGD, batch["row"]), put_new)

  def _encode(self, model: Any, batch: Batch) -> Array:
    """Computes the audio tokens of the windows that there are, a few of each lane at a time.

    Where windows are encoded one at a time, one of which a half is enough is encoded that far. On
    one device that depends on its own clip alone.
    """
    shape, geometry = self._shape, self._shape.geometry
    mel_RWCFM = model.mel(batch)
    together = shape.windows_together
    full = geometry.chunks_per_window
    halves = together == 1 and full > 1 and not geometry.padded_windows
    sizes = [full // 2, full] if halves else [full]
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


def _store_by_clip(ready_1X: Array, new_1G: Array, row: Array) -> Array:
  first = row[0] * new_1G.shape[1]
  return lax.dynamic_update_slice_in_dim(ready_1X, new_1G.astype(ready_1X.dtype), first, axis=1)
