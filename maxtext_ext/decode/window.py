"""The program `window`: steps of all slots, which take the next ready clips as they become free."""

import functools
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from maxtext_ext import bridge
from maxtext_ext.decode import head
from maxtext_ext.decode.attention import ATTEND_SLOTS, attend_slots, write
from maxtext_ext.decode.layers import SplitModel, Weights
from maxtext_ext.decode.shape import Division, Shape
from maxtext_ext.decode.state import FREE, LENGTH, LOOP, STOP, Pool, Ready, State, Written

_TRAIN = bridge.MODEL_MODE_TRAIN


class Window:
  """Writes tokens in all slots, for some steps.

  Args:
    eos_ids: tokens that end a text.
    vocab_size: tokens that may be written.
    repeats: as `head.is_loop`.
    platform: of the devices.
  """

  def __init__(
    self,
    model: SplitModel,
    division: Division,
    shape: Shape,
    *,
    eos_ids: tuple[int, ...],
    vocab_size: int,
    repeats: int,
    platform: str,
  ) -> None:
    self._model, self._division, self._shape = model, division, shape
    self._eos_ids = eos_ids
    self._vocab_size, self._repeats, self._platform = vocab_size, repeats, platform

  def __call__(
    self,
    weights: Weights,
    pool: Pool,
    ready: Ready,
    entries: State,
    limit_B: Array,
    early: Array,
  ) -> tuple[Pool, Written, Array, Array]:
    """Runs up to K steps.

    Args:
      entries: clips of each lane in the ready queue, in the order of their turn: `first` (place of
        the first key), `hidden` (place of the last token's state), `length`, `left`, `limit` and
        `ticket`, all [R, T]; and `count` [R].
      limit_B: places that the clip of each slot may use; 0: as before.
      early: the window ends when so many more slots than at its start have nothing to write and get
        no other clip.

    Returns:
      the pool, what was written, how many entries of each lane were taken, and the steps.
    """
    slots = self._shape.lanes * self._shape.slots
    steps = self._shape.steps
    limit_B = jnp.where(limit_B > 0, limit_B, pool.state["limit"])
    pool = pool._replace(state=pool.state | {"limit": limit_B})
    model = self._model.model(weights)
    by_lane, of_pool, of_ready = (
      self._division.by_lane,
      self._division.pool,
      self._division.ready,
    )
    refill = self._division.on_lanes(
      self._refill, (of_pool, of_ready, by_lane, by_lane), (of_pool, by_lane)
    )
    written = Written(
      token=jnp.zeros((slots, steps), jnp.int32),
      log_prob=jnp.zeros((slots, steps), jnp.float32),
      ticket=jnp.full((slots, steps), FREE, jnp.int32),
      end=jnp.zeros((slots, steps), jnp.int32),
    )

    def busy(pool: Pool, taken_R: Array) -> Array:
      """Which slots have something to write, or get the next clip."""
      waiting_B = jnp.repeat(taken_R < entries["count"], self._shape.slots)
      return _is_live(pool.state) | ((pool.state["ticket"] == FREE) & waiting_B)

    def goes_on(carry: tuple) -> Array:
      step, pool, _, taken_R = carry
      busy_now = jnp.sum(busy(pool, taken_R))
      return (step < steps) & (busy_now > jnp.maximum(busy_at_start - early, 0))

    def run_step(carry: tuple) -> tuple:
      step, pool, written, taken_R = carry
      pool, taken_R = refill(pool, ready, entries, taken_R)
      pool, of_step = self._step(model, weights, pool)
      written = Written(
        *[all_.at[:, step].set(new) for all_, new in zip(written, of_step, strict=True)]
      )
      return step + 1, pool, written, taken_R

    start = (jnp.int32(0), pool, written, jnp.zeros_like(entries["count"]))
    busy_at_start = jnp.sum(busy(pool, start[-1]))
    step, pool, written, taken_R = lax.while_loop(goes_on, run_step, start)
    return pool, written, taken_R, step

  def _step(self, model: Any, weights: Weights, pool: Pool) -> tuple[Pool, Written]:
    """Writes a token in every slot that has a place for it, and computes what predicts the next."""
    state, live_B = pool.state, _is_live(pool.state)
    token_B, log_prob_B = head.choose(head.logits(model, state["hidden"]), self._vocab_size)
    runs_BP, recent_BP = head.repeat_runs(state["runs"], state["recent"], token_B)
    end_B = jnp.where(head.is_loop(runs_BP, self._repeats), LOOP, 0)
    end_B = jnp.where(state["left"] <= 1, LENGTH, end_B)
    end_B = jnp.where(jnp.isin(token_B, jnp.asarray(self._eos_ids, jnp.int32)), STOP, end_B)
    end_B = jnp.where(live_B, end_B, 0)
    goes_on_B = live_B & (end_B == 0)
    x_B1D = model.decoder.embed_tokens(model.token_embedder, token_B[:, None], _TRAIN)
    hidden_B1D, kept = self._model.run_layers(
      weights,
      x_B1D,
      state["length"][:, None],
      list(zip(pool.keys, pool.values, strict=True)),
      functools.partial(self._attend_slots, state["length"], goes_on_B),
    )
    new = {
      "ticket": jnp.where(live_B & (end_B != 0), FREE, state["ticket"]),
      "length": state["length"] + goes_on_B,
      "limit": state["limit"],
      "left": state["left"] - goes_on_B,
      "hidden": jnp.where(goes_on_B[:, None], hidden_B1D[:, 0], state["hidden"]),
      "recent": jnp.where(goes_on_B[:, None], recent_BP, state["recent"]),
      "runs": jnp.where(goes_on_B[:, None], runs_BP, state["runs"]),
    }
    keys, values = (list(layers) for layers in zip(*kept, strict=True))
    ticket_B = jnp.where(live_B, state["ticket"], FREE)
    return Pool(keys, values, new), Written(token_B, log_prob_B, ticket_B, end_B)

  def _attend_slots(
    self,
    length_B: Array,
    writes_B: Array,
    attention: Any,
    q_B1NH: Array,
    k_B1KH: Array,
    v_B1KH: Array,
    cache: tuple[list[Array], list[Array]],
  ) -> tuple[Array, Any]:
    del attention
    attend_own = ATTEND_SLOTS.get(self._platform, attend_slots)

    def attend(
      q: Array,
      k: Array,
      v: Array,
      keys: list[Array],
      values: list[Array],
      length: Array,
      writes: Array,
    ) -> tuple[Array, list[Array], list[Array]]:
      place = jnp.where(writes, length, -1)
      keys, values = write(keys, k, place), write(values, v, place)
      return attend_own(q, keys, values, length + 1), keys, values

    by_lane, by_head = self._division.by_lane, self._division.cache
    ins = (*[by_head] * 5, by_lane, by_lane)
    run = self._division.on_lanes(attend, ins, (by_head, by_head, by_head))
    out_BNH, keys, values = run(
      q_B1NH[:, 0], k_B1KH[:, 0], v_B1KH[:, 0], *cache, length_B, writes_B
    )
    return out_BNH[:, None], (keys, values)

  def _refill(self, pool: Pool, ready: Ready, entries: State, taken: Array) -> tuple[Pool, Array]:
    """Puts the next ready clips of one lane into its free slots."""

    def goes_on(carry: tuple[Pool, Array]) -> Array:
      pool, taken = carry
      return (taken[0] < entries["count"][0]) & jnp.any(pool.state["ticket"] == FREE)

    def put_one(carry: tuple[Pool, Array]) -> tuple[Pool, Array]:
      pool, taken = carry
      slot = jnp.argmax(pool.state["ticket"] == FREE)
      entry = {key: value[0, taken[0]] for key, value in entries.items() if key != "count"}

      def copy(blocks: list[Array], ready_1KTH: Array) -> list[Array]:
        """Copies the prompt, and what lies behind it, which is not seen."""
        copied, first = [], 0
        for block_BKSH in blocks:
          _, groups, places, width = block_BKSH.shape
          if (size := min(places, self._shape.row_tokens - first)) > 0:
            where = (0, 0, entry["first"] + first, 0)
            own = lax.dynamic_slice(ready_1KTH, where, (1, groups, size, width))
            block_BKSH = lax.dynamic_update_slice(block_BKSH, own, (slot, 0, 0, 0))
          copied.append(block_BKSH)
          first += places
        return copied

      new = {
        "ticket": entry["ticket"],
        "length": entry["length"],
        "limit": entry["limit"],
        "left": entry["left"],
        "hidden": ready.hidden[0, entry["hidden"]],
        "recent": jnp.full(head.LONGEST_PERIOD, -1, jnp.int32),
        "runs": jnp.zeros(head.LONGEST_PERIOD, jnp.int32),
      }
      state = {key: value.at[slot].set(new[key]) for key, value in pool.state.items()}
      keys, values = (
        [copy(*pair) for pair in zip(mine, waiting, strict=True)]
        for mine, waiting in ((pool.keys, ready.keys), (pool.values, ready.values))
      )
      return Pool(keys, values, state), taken + 1

    return lax.while_loop(goes_on, put_one, (pool, taken))


def _is_live(state: State) -> Array:
  """Which slots hold a clip with a place for its next token."""
  return (state["ticket"] != FREE) & (state["length"] < state["limit"])
