"""The program `window`: steps of all slots, which take the next ready clips as they become free."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from maxtext_ext import bridge
from maxtext_ext.decode import head
from maxtext_ext.decode.cache import Layer, SlotCache
from maxtext_ext.decode.layers import SplitModel, Weights
from maxtext_ext.decode.sampling import choose_controlled
from maxtext_ext.decode.shape import MeshDivision, Shape
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
    division: MeshDivision,
    shape: Shape,
    *,
    eos_ids: tuple[int, ...],
    vocab_size: int,
    repeats: int,
    platform: str,
  ) -> None:
    self._model, self._division, self._shape = model, division, shape
    self._eos_ids = eos_ids
    self._vocab_size, self._repeats = vocab_size, repeats
    self._width = 1  # places that a step uses in a slot
    self._cache = SlotCache(division, shape, platform)

  def empty_state(self) -> State:
    """Makes the state of free slots."""
    config, slots = self._model.config, self._shape.lanes * self._shape.slots
    state = {"ticket": jnp.full(slots, FREE, jnp.int32)}
    state |= {key: jnp.zeros(slots, jnp.int32) for key in ("length", "limit", "left", "written")}
    state["hidden"] = jnp.zeros((slots, config.emb_dim), config.dtype)
    state |= {key: jnp.zeros(slots, jnp.float32) for key in ("temperature", "penalty")}
    state["seed"] = jnp.zeros((slots, 2), jnp.uint32)
    state["history"] = jnp.zeros((slots, config.max_new_tokens), jnp.int32)
    return state | {
      key: jnp.zeros((slots, head.LONGEST_PERIOD), jnp.int32) for key in ("recent", "runs")
    }

  def __call__(
    self,
    weights: Weights,
    pool: Pool,
    ready: Ready,
    entries: State,
    limit_B: Array,
    early: Array,
  ) -> tuple[Pool, Any, Array, State]:
    """Runs up to K steps.

    Args:
      entries: clips of each lane in the ready queue, in the order of their turn: `first` (place of
        the first key), `hidden` (place of the last token's state), `length` and `left` (before its
        draft), `limit`, `ticket`, `temperature` and `penalty`, all [R, T]; `seed` [R, T, 2]; and
        `count` [R].
      limit_B: places that the clip of each slot may use; 0: as before.
      early: the window ends when so many more slots than at its start have nothing to write and get
        no other clip.

    Returns:
      the pool, what was written (`Written`), how many entries of each lane were taken, and the
      work: steps, and places of the cache of a layer that they read.
    """
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

    def busy(state: State, taken_R: Array) -> Array:
      """Returns which slots have something to write, or get the next clip."""
      waiting_B = jnp.repeat(taken_R < entries["count"], self._shape.slots)
      return self._is_live(state) | ((state["ticket"] == FREE) & waiting_B)

    def goes_on(carry: tuple) -> Array:
      step, _, state, _, taken_R, _ = carry
      busy_now = jnp.sum(busy(state, taken_R))
      return (step < steps) & (busy_now > jnp.maximum(busy_at_start - early, 0))

    def run_step(carry: tuple) -> tuple:
      step, layers, state, written, taken_R, read = carry
      pool = Pool([layer.keys for layer in layers], [layer.values for layer in layers], state)
      pool, taken_R = refill(pool, ready, entries, taken_R)
      layers = [
        layer._replace(keys=keys, values=values)
        for layer, keys, values in zip(layers, pool.keys, pool.values, strict=True)
      ]
      is_new_B = pool.state["ticket"] != state["ticket"]
      state = self._cache.note_new(pool.state, is_new_B, step)
      read = read + self._places_read(state, pool.places)
      layers, state, of_step = self._step(model, weights, layers, state, step)
      written = jax.tree.map(lambda all_, new: all_.at[:, step].set(new), written, of_step)
      return step + 1, layers, state, written, taken_R, read

    taken_R = jnp.zeros_like(entries["count"])
    busy_at_start = jnp.sum(busy(pool.state, taken_R))
    layers, state = self._cache.open(pool)
    start = (jnp.int32(0), layers, state, self._nothing_written(), taken_R, jnp.float32(0))
    step, layers, state, written, taken_R, read = lax.while_loop(goes_on, run_step, start)
    return self._cache.close(layers, state), written, taken_R, {"steps": step, "read": read}

  def open(self, pool: Pool) -> tuple[list[Layer], State]:
    """Makes what `step` takes, and `close` makes a pool of again; for counting what they cost."""
    return self._cache.open(pool)

  def close(self, layers: list[Layer], state: State) -> Pool:
    """Ends a window."""
    return self._cache.close(layers, state)

  def step(
    self, weights: Weights, layers: list[Layer], state: State, step: Array
  ) -> tuple[list[Layer], State, Written]:
    """Runs one step of a window, in which no slot gets a new clip."""
    return self._step(self._model.model(weights), weights, layers, state, step)

  def _nothing_written(self) -> Any:
    slots, steps = self._shape.lanes * self._shape.slots, self._shape.steps
    return Written(
      token=jnp.zeros((slots, steps), jnp.int32),
      log_prob=jnp.zeros((slots, steps), jnp.float32),
      ticket=jnp.full((slots, steps), FREE, jnp.int32),
      end=jnp.zeros((slots, steps), jnp.int32),
    )

  def _is_live(self, state: State) -> Array:
    """Returns which slots hold a clip with a place for its next token."""
    return (state["ticket"] != FREE) & (state["length"] + self._width <= state["limit"])

  def _places_read(self, state: State, places: int) -> Array:
    """Counts the places that a step reads: of whole blocks, as many as the longest slot has."""
    slots, block = self._shape.slots, self._shape.block_places or places
    length_B = jnp.where(self._is_live(state), state["length"] + self._width, 0)
    blocks_R = (jnp.max(length_B.reshape(-1, slots), axis=1) + block - 1) // block
    return jnp.sum(jnp.maximum(blocks_R, 1) * block * slots).astype(jnp.float32)

  def _step(
    self, model: Any, weights: Weights, layers: list[Layer], state: State, step: Array
  ) -> tuple[list[Layer], State, Any]:
    """Writes a token in every slot that has a place for it, and computes what predicts the next."""
    live_B = self._is_live(state)
    logits_VB = head.logits(model, state["hidden"])
    likeliest = head.choose(logits_VB, self._vocab_size)
    token_B, log_prob_B = choose_controlled(logits_VB, likeliest, state, live_B, self._vocab_size)
    runs_BP, recent_BP = head.repeat_runs(state["runs"], state["recent"], token_B)
    end_B = jnp.where(head.is_loop(runs_BP, self._repeats), LOOP, 0)
    end_B = jnp.where(state["left"] <= 1, LENGTH, end_B)
    end_B = jnp.where(jnp.isin(token_B, jnp.asarray(self._eos_ids, jnp.int32)), STOP, end_B)
    end_B = jnp.where(live_B, end_B, 0)
    goes_on_B = live_B & (end_B == 0)
    x_B1D = model.decoder.embed_tokens(model.token_embedder, token_B[:, None], _TRAIN)
    hidden_B1D, layers = self._model.run_layers(
      weights,
      x_B1D,
      state["length"][:, None],
      layers,
      functools.partial(self._cache.attend, state, step, goes_on_B),
    )
    history_BW = state["history"]
    is_next_BW = jnp.arange(history_BW.shape[1]) == state["written"][:, None]
    new = {
      "ticket": jnp.where(live_B & (end_B != 0), FREE, state["ticket"]),
      "length": state["length"] + goes_on_B,
      "left": state["left"] - goes_on_B,
      "written": state["written"] + goes_on_B,
      "history": jnp.where(is_next_BW & goes_on_B[:, None], token_B[:, None], history_BW),
      "hidden": jnp.where(goes_on_B[:, None], hidden_B1D[:, 0], state["hidden"]),
      "recent": jnp.where(goes_on_B[:, None], recent_BP, state["recent"]),
      "runs": jnp.where(goes_on_B[:, None], runs_BP, state["runs"]),
    }
    ticket_B = jnp.where(live_B, state["ticket"], FREE)
    return layers, state | new, Written(token_B, log_prob_B, ticket_B, end_B)

  def _refill(self, pool: Pool, ready: Ready, entries: State, taken: Array) -> tuple[Pool, Array]:
    """Puts the next ready clips of one lane into its free slots."""

    def goes_on(carry: tuple[Pool, Array]) -> Array:
      pool, taken = carry
      return (taken[0] < entries["count"][0]) & jnp.any(pool.state["ticket"] == FREE)

    def put_one(carry: tuple[Pool, Array]) -> tuple[Pool, Array]:
      pool, taken = carry
      slot = jnp.argmax(pool.state["ticket"] == FREE)
      entry = {key: value[0, taken[0]] for key, value in entries.items() if key != "count"}
      drafted = {key: value[0, entry["hidden"]] for key, value in ready.written.items()}

      def copy(blocks: list[Array], ready_1KTH: Array) -> list[Array]:
        """Copies prompt and draft, and what lies behind what was accepted, which is not seen."""
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

      new = self._new_slot(entry, drafted, ready)
      state = pool.state | {key: pool.state[key].at[slot].set(new[key]) for key in new}
      keys, values = (
        [copy(*pair) for pair in zip(mine, waiting, strict=True)]
        for mine, waiting in ((pool.keys, ready.keys), (pool.values, ready.values))
      )
      return Pool(keys, values, state), taken + 1

    return lax.while_loop(goes_on, put_one, (pool, taken))

  def _new_slot(self, entry: State, drafted: State, ready: Ready) -> State:
    """Returns the state of a slot that takes a ready clip, with what is accepted of its draft."""
    return {
      "ticket": entry["ticket"],
      "length": entry["length"] + drafted["accepted"],
      "limit": entry["limit"],
      "left": entry["left"] - drafted["accepted"],
      # A clip with a draft has no penalty, which alone reads the history.
      "written": drafted["accepted"],
      "temperature": entry["temperature"],
      "penalty": entry["penalty"],
      "seed": entry["seed"],
      "hidden": ready.hidden[0, entry["hidden"]],
      "recent": drafted["recent"],
      "runs": drafted["runs"],
    }
