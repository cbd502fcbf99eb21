"""KV cache of beam search: the hypotheses of a clip share its slot, and see places by a mask.

Behind the prompt a step writes a place for each hypothesis. When hypotheses change their order, or
one continues in several ways, only masks change: which places are of its own text. So the prompt is
there once and nothing is copied. A step reads what as many slots of their own would have it read,
but computes scores of all hypotheses with all places of the slot.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from maxtext_ext.decode.attention import BUFFERED, attend_in_turn, attend_places, write
from maxtext_ext.decode.cache import Layer, SlotCache
from maxtext_ext.decode.state import State


class Part(NamedTuple):
  """Places of all slots, and which of them each hypothesis sees."""

  keys: Float[Array, "B K S H"]
  values: Float[Array, "B K S H"]
  seen: Bool[Array, "B J S"]


class BeamCache(SlotCache):
  """Writing to the cache and attention over it, for all hypotheses of a slot.

  The state has `seen` [B, J, S], the places of each hypothesis.
  """

  def attend(
    self,
    state: State,
    step: Array,
    writes_B: Array,
    attention: Any,
    q_BJNH: Array,
    k_BJKH: Array,
    v_BJKH: Array,
    cache: Layer,
  ) -> tuple[Array, Any]:
    """Writes keys and values of a token of each hypothesis, and attends to what it sees."""
    del attention
    buffered = self._platform in BUFFERED

    def attend_own(
      q_BNJH: Array, k_BKJH: Array, v_BKJH: Array, cache: Layer, state: State, writes_B: Array,
      step: Array,
    ) -> tuple[Array, Layer]:  # fmt: skip
      seen_BJS = state["seen"] & writes_B[:, None, None]
      if buffered:
        assert cache.new_keys is not None and cache.new_values is not None
        width = k_BKJH.shape[2]
        new_keys, new_values = (
          lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), step * width, axis=2)
          for old, new in ((cache.new_keys, k_BKJH), (cache.new_values, v_BKJH))
        )
        cache = cache._replace(new_keys=new_keys, new_values=new_values)
        place_BT = self._buffer_places(state)
        inside_BT = jnp.clip(place_BT, 0, seen_BJS.shape[2] - 1)
        written_BJT = jnp.take_along_axis(seen_BJS, inside_BT[:, None], axis=2)
        written_BJT &= (place_BT >= state["base"][:, None])[:, None]
        seen_BJS &= jnp.arange(seen_BJS.shape[2]) < state["base"][:, None, None]
        own = [Part(new_keys, new_values, written_BJT)]
      else:
        place_BJ = state["length"][:, None] + jnp.arange(k_BKJH.shape[2])
        place_BJ = jnp.where(writes_B[:, None], place_BJ, -1)
        keys, values = (
          write(blocks, new.swapaxes(1, 2), place_BJ)
          for blocks, new in ((cache.keys, k_BKJH), (cache.values, v_BKJH))
        )
        cache, own = cache._replace(keys=keys, values=values), []
      parts = [*_parts_of(cache.keys, cache.values, seen_BJS), *own]
      return attend_beams(q_BNJH, parts), cache

    by_lane, by_head = self._division.by_lane, self._division.cache
    ins = (by_head, by_head, by_head, by_head, by_lane, by_lane, self._division.everywhere)
    run = self._division.on_lanes(attend_own, ins, (by_head, by_head))
    own = {key: state[key] for key in ("length", "base", "begun", "seen") if key in state}
    by_heads = (x.swapaxes(1, 2) for x in (q_BJNH, k_BJKH, v_BJKH))
    out_BNJH, cache = run(*by_heads, cache, own, writes_B, step)
    return out_BNJH.swapaxes(1, 2), cache


def attend_beams(q_BNJH: Float[Array, "B N J H"], parts: Sequence[Part]) -> Array:
  """Attends to what each hypothesis sees, [B, N, J, H].

  As `attention.attend_slots`, with the queries of all hypotheses of a slot together. Parts but the
  first are not read where nothing of them is seen in any slot.
  """
  slots, heads, _, size = q_BNJH.shape
  groups = parts[0].keys.shape[1]
  q_BKXH = q_BNJH.reshape(slots, groups, -1, size)

  def attend(q_BKXH: Array, part: Part) -> tuple[Array, Array, Array]:
    seen_BXS = jnp.tile(part.seen, (1, heads // groups, 1))
    return attend_places(q_BKXH, part.keys, part.values, seen_BXS[:, None])

  out_BKXH = attend_in_turn(q_BKXH, parts, [part.seen for part in parts], attend)
  return out_BKXH.reshape(q_BNJH.shape).astype(q_BNJH.dtype)


def _parts_of(keys: Sequence[Array], values: Sequence[Array], seen_BJS: Array) -> list[Part]:
  first, made = 0, []
  for k_BKSH, v_BKSH in zip(keys, values, strict=True):
    end = first + k_BKSH.shape[2]
    made.append(Part(k_BKSH, v_BKSH, seen_BJS[:, :, first:end]))
    first = end
  return made


def prompt_places(length: Int[Array, ""], beams: int, places: int) -> Bool[Array, "J S"]:
  """Returns the places that the hypotheses of a new clip see: those of its prompt."""
  return jnp.broadcast_to(jnp.arange(places) < length, (beams, places))


def continued(
  seen_BJS: Bool[Array, "B J S"], parent_BJ: Int[Array, "B J"], length_B: Int[Array, "B"]
) -> Array:
  """Returns the places that hypotheses see which continue others: theirs, and their own next one.

  Args:
    parent_BJ: which of the others each continues.
    length_B: places used before.
  """
  beams, places = seen_BJS.shape[1:]
  own_BJ = length_B[:, None] + jnp.arange(beams)
  seen_BJS = jnp.take_along_axis(seen_BJS, parent_BJ[..., None], axis=1)
  return seen_BJS | (jnp.arange(places) == own_BJ[..., None])
