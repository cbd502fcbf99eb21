"""Programs of decoding, compiled for static shapes.

`prefill` stores packed prompts in the ready queue, `verify` those with drafts; `window` runs steps
of all slots, and the host reads what was written once a window. The pool of slots and the queue are
donated, so they stay where they are.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array

from maxtext_ext.decode.beam_search import SearchRules
from maxtext_ext.decode.beam_window import BeamWindow
from maxtext_ext.decode.drafts import nothing_written
from maxtext_ext.decode.layers import SplitModel
from maxtext_ext.decode.prefill import Prefill
from maxtext_ext.decode.shape import MeshDivision, Shape
from maxtext_ext.decode.state import Pool, Ready
from maxtext_ext.decode.window import Window
from maxtext_ext.progress import announce_first_call


class Programs:
  """Programs of one shape.

  Attributes:
    jit_prefill, jit_window: what JAX compiles; `prefill` and `window` also say so.
    steps: of a window, to be counted one by one.

  Args:
    model: split into its layers.
    eos_ids: tokens that end a text.
    vocab_size: tokens that may be written; a checkpoint's vocabulary is padded beyond them.
    repeats: as `head.is_loop`.
    beams: hypotheses of a clip that are extended together; 1: the likeliest token is always taken.
    length_penalty: as `SearchRules`.
    platform: of the devices.
    announce: report compilation on stderr.
  """

  def __init__(
    self,
    model: SplitModel,
    mesh: Mesh,
    shape: Shape,
    *,
    eos_ids: tuple[int, ...],
    vocab_size: int,
    repeats: int,
    platform: str,
    announce: bool,
    beams: int = 1,
    length_penalty: float = 1.0,
  ) -> None:
    self.shape, self.division = shape, MeshDivision(model.config, mesh)
    self._config, self._depth = model.config, model.depth
    by_lane, cache = self.division.by_lane, self.division.cache
    limits: Any = {"eos_ids": eos_ids, "vocab_size": vocab_size, "repeats": repeats}
    if beams > 1:
      rules = SearchRules(beams=beams, length_penalty=length_penalty, **limits)
      window: Window = BeamWindow(model, self.division, shape, rules, platform=platform)
    else:
      window = Window(model, self.division, shape, **limits, platform=platform)
    self.steps = window
    prefill = Prefill(
      model, self.division, shape, vocab_size=vocab_size, repeats=repeats, platform=platform
    )
    self.jit_prefill = jax.jit(
      prefill.__call__, donate_argnums=1, out_shardings=self.division.ready
    )
    self.prefill = announce_first_call(
      self.jit_prefill,
      f"compiling the decoder for prompts, rows of {shape.row_tokens} tokens",
      visible=announce,
    )
    self.verify = announce_first_call(
      jax.jit(
        prefill.verify, donate_argnums=1, out_shardings=(self.division.ready, by_lane, by_lane)
      ),
      f"compiling the decoder for prompts with drafts, rows of {shape.row_tokens} tokens",
      visible=announce,
    )
    self.jit_window = jax.jit(
      window.__call__,
      donate_argnums=1,
      out_shardings=(self.division.pool, by_lane, by_lane, self.division.everywhere),
    )
    self.window = announce_first_call(
      self.jit_window,
      f"compiling the decoder for {shape.slots * shape.lanes} clips together",
      visible=announce,
      program=lambda _, pool, *__: pool.places,
    )
    self.empty_ready = jax.jit(self._empty_ready, out_shardings=self.division.ready)
    self._empty_state = jax.jit(window.empty_state, out_shardings=by_lane)
    self._empty_block = jax.jit(self._make_block, static_argnums=0, out_shardings=cache)
    self._lengthen = jax.jit(_lengthen, static_argnums=1, out_shardings=cache)

  def empty_pool(self, places: int) -> Pool:
    """Makes free slots of at least so many places."""
    keys: list[list[Array]] = [[] for _ in range(self._depth)]
    values: list[list[Array]] = [[] for _ in range(self._depth)]
    return self.grow(Pool(keys, values, self._empty_state()), places)

  def abstract_pool(self, places: int) -> Pool:
    """Returns the shapes and shardings of `empty_pool`."""
    return placed(jax.eval_shape(lambda: self.empty_pool(places)), self.division.pool)

  def abstract_ready(self) -> Ready:
    """Returns the shapes and shardings of `empty_ready`."""
    return placed(jax.eval_shape(self._empty_ready), self.division.ready)

  def grow(self, pool: Pool, places: int) -> Pool:
    """Gives every slot at least so many places; the clips in them stay where they are."""
    size = self.shape.block_places or places

    def more(blocks: list[Array]) -> list[Array]:
      if not self.shape.block_places and blocks:
        return [self._lengthen(blocks[0], places)]
      return blocks + [self._empty_block(size) for _ in range(len(blocks), -(-places // size))]

    return Pool([*map(more, pool.keys)], [*map(more, pool.values)], pool.state)

  def _make_block(self, places: int) -> Array:
    config, slots = self._config, self.shape.lanes * self.shape.slots
    return jnp.zeros((slots, config.num_kv_heads, places, config.head_dim), config.dtype)

  def _empty_ready(self) -> Ready:
    config, shape = self._config, self.shape
    rows = shape.rows + 1
    tokens = (shape.lanes, config.num_kv_heads, rows * shape.row_tokens, config.head_dim)
    keys, values = ([jnp.zeros(tokens, config.dtype)] * self._depth for _ in range(2))
    hidden = (shape.lanes, rows * shape.clips, config.emb_dim)
    written = nothing_written(*hidden[:2])
    return Ready(keys, values, jnp.zeros(hidden, config.dtype), written)


def placed(tree: Any, shardings: Any) -> Any:
  """Returns shapes with shardings, which are given for a prefix of the tree."""

  def place(sharding: NamedSharding, part: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), part)

  return jax.tree.map(place, shardings, tree)


def _lengthen(block_BKSH: Array, places: int) -> Array:
  return jnp.pad(block_BKSH, ((0, 0), (0, 0), (0, places - block_BKSH.shape[2]), (0, 0)))
