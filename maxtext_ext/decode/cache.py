"""KV cache of the slots during a window: how a step's keys and values get to their places."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from maxtext_ext.decode.attention import (
  BUFFERED,
  Segment,
  find_attention,
  segments_of,
  write,
  write_by_product,
)
from maxtext_ext.decode.shape import MeshDivision, Shape
from maxtext_ext.decode.state import Pool, State


class Layer(NamedTuple):
  """KV cache of a layer in a window; the buffers [B, K, T, H] only where there are any."""

  keys: list[Array]
  values: list[Array]
  new_keys: Array | None
  new_values: Array | None


class SlotCache:
  """Writing to the cache and attention over it.

  A step writes at the place of each slot, or, on the platforms in BUFFERED, at its own index of a
  buffer that belongs to the window. Then the state has `base`, the places that a slot had used
  when the window or its clip began, and `begun`, the step of that.

  Args:
    platform: of the devices.
    width: places that a step writes in a slot.
  """

  def __init__(
    self, division: MeshDivision, shape: Shape, platform: str, *, width: int = 1
  ) -> None:
    self._division, self._platform = division, platform
    self._width, self._buffer = width, width * shape.steps

  def open(self, pool: Pool) -> tuple[list[Layer], State]:
    """Makes the caches of the layers for a window, and notes where its first tokens will be."""
    state = pool.state
    new: list[Any] = [None] * len(pool.keys)
    if self._platform in BUFFERED:
      slots, groups, _, size = pool.keys[0][0].shape
      shape = (slots, groups, self._buffer, size)
      new = [jnp.zeros(shape, pool.keys[0][0].dtype)] * len(pool.keys)
      state = state | {"base": state["length"], "begun": jnp.zeros_like(state["length"])}
    layers = zip(pool.keys, pool.values, new, new, strict=True)
    return [Layer(*layer) for layer in layers], state

  def close(self, layers: list[Layer], state: State) -> Pool:
    """Moves what a window wrote to the places of its slots."""
    state = dict(state)
    if self._platform in BUFFERED:
      place_BT = self._buffer_places(state)
      is_new_BT = (place_BT >= state.pop("base")[:, None]) & (place_BT < state["length"][:, None])
      place_BT = jnp.where(is_new_BT, place_BT, -1)
      del state["begun"]
      by_lane, by_head = self._division.by_lane, self._division.cache
      move = self._division.on_lanes(_move, (by_head, by_lane), by_head)
      layers = [move(layer, place_BT) for layer in layers]
    return Pool([layer.keys for layer in layers], [layer.values for layer in layers], state)

  def _buffer_places(self, state: State) -> Array:
    """Returns the places [B, T] to which the buffer belongs; before `base` to none."""
    after_BT = jnp.arange(self._buffer) - self._width * state["begun"][:, None]
    return state["base"][:, None] + after_BT

  def note_new(self, state: State, is_new_B: Array, step: Array) -> State:
    """Notes which slots have got another clip before a step."""
    if self._platform not in BUFFERED:
      return state
    return state | {
      "base": jnp.where(is_new_B, state["length"], state["base"]),
      "begun": jnp.where(is_new_B, step, state["begun"]),
    }

  def attend(
    self,
    state: State,
    step: Array,
    writes_B: Array,
    attention: Any,
    q_B1NH: Array,
    k_B1KH: Array,
    v_B1KH: Array,
    cache: Layer,
  ) -> tuple[Array, Any]:
    """Writes keys and values of a token of each slot, and attends to it and all before it."""
    del attention
    look_up = find_attention(self._platform, self._division.mesh.devices.flat[0].platform)

    def attend_own(
      q: Array, k: Array, v: Array, cache: Layer, state: State, writes: Array, step: Array
    ) -> tuple[Array, Layer]:
      place = jnp.where(writes, state["length"], -1)
      if cache.new_keys is None or cache.new_values is None:
        keys, values = (
          write(blocks, new[:, None], place[:, None])
          for blocks, new in ((cache.keys, k), (cache.values, v))
        )
        own = look_up(q, segments_of(keys, values, place + 1))
        return own, cache._replace(keys=keys, values=values)
      new_keys, new_values = (
        lax.dynamic_update_index_in_dim(old, new[:, :, None].astype(old.dtype), step, axis=2)
        for old, new in ((cache.new_keys, k), (cache.new_values, v))
      )
      since = state["begun"]
      written = Segment(new_keys, new_values, since, since + place + 1 - state["base"])
      segments = [*segments_of(cache.keys, cache.values, state["base"]), written]
      return look_up(q, segments), cache._replace(new_keys=new_keys, new_values=new_values)

    by_lane, by_head = self._division.by_lane, self._division.cache
    ins = (by_head, by_head, by_head, by_head, by_lane, by_lane, self._division.everywhere)
    run = self._division.on_lanes(attend_own, ins, (by_head, by_head))
    own = {key: state[key] for key in ("length", "base", "begun") if key in state}
    out_BNH, cache = run(q_B1NH[:, 0], k_B1KH[:, 0], v_B1KH[:, 0], cache, own, writes_B, step)
    return out_BNH[:, None], cache


def _move(layer: Layer, place_BT: Array) -> Layer:
  assert layer.new_keys is not None and layer.new_values is not None
  keys, values = (
    write_by_product(blocks, new.swapaxes(1, 2), place_BT)
    for blocks, new in ((layer.keys, layer.new_keys), (layer.values, layer.new_values))
  )
  return layer._replace(keys=keys, values=values)
