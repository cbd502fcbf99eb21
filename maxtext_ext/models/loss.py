"""Cross-entropy of target tokens, the transcript and its end."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


def masked_cross_entropy(
  logits_BLV: Float[Array, "B L V"],
  targets_BL: Int[Array, "B L"],
  targets_segmentation_BL: Int[Array, "B L"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """Sums the cross-entropy in nats, and counts the tokens it is summed over.

  Sums rather than a mean: micro-batches and hosts hold different numbers of target tokens, and
  only sums add up to the loss of the large batch.

  Args:
    targets_segmentation_BL: not 0 where the loss counts (target text and eos).
  """
  counts_BL = (targets_segmentation_BL != 0).astype(jnp.float32)
  nats_BL = optax.softmax_cross_entropy_with_integer_labels(
    logits_BLV.astype(jnp.float32), targets_BL
  )
  return jnp.sum(nats_BL * counts_BL), jnp.sum(counts_BL)


def tiled_cross_entropy(
  head: Callable[[Float[Array, "B T D"]], Float[Array, "B T V"]],
  hidden_BLD: Float[Array, "B L D"],
  targets_BL: Int[Array, "B L"],
  targets_segmentation_BL: Int[Array, "B L"],
  *,
  tiles: int,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """Computes `masked_cross_entropy(head(hidden), ...)` one piece of each row at a time.

  The logits of a whole batch would be the largest array of a step: 16 rows of 2048 tokens and a
  vocabulary of 152k take 20 GB. Here they exist for `L / tiles` tokens of each row, and are
  computed again for the gradient. The positions that count come first in a row, about a quarter of
  them in speech, and a piece in which no row has any left is skipped: its logits are never made.

  Args:
    head: hidden states to float32 logits, position by position.
    tiles: pieces of a row; 1: all at once, without skipping.
  """
  rows, length, _ = hidden_BLD.shape
  if tiles == 1:
    return masked_cross_entropy(head(hidden_BLD), targets_BL, targets_segmentation_BL)
  marked_BL = targets_segmentation_BL != 0
  size = -(-length // tiles)
  # Stable, so that sums do not depend on the backend's way of sorting.
  order_BL = jnp.argsort(~marked_BL, axis=1, stable=True)
  order_BL = jnp.pad(order_BL, ((0, 0), (0, tiles * size - length)))
  real_L = jnp.arange(tiles * size) < length

  def cut(array_BL: Array) -> Array:
    """Sorts and cuts [B, L, ...] into [tiles, B, size, ...]."""
    index = order_BL.reshape(rows, -1, *(1,) * (array_BL.ndim - 2))
    moved = jnp.take_along_axis(array_BL, index, axis=1)
    return moved.reshape(rows, tiles, size, *array_BL.shape[2:]).swapaxes(0, 1)

  marked_BL = (jnp.take_along_axis(marked_BL, order_BL, axis=1) & real_L).astype(jnp.int32)
  marked_NBT = marked_BL.reshape(rows, tiles, size).swapaxes(0, 1)

  @jax.checkpoint
  def nats(hidden_BTD: Array, targets_BT: Array, marked_BT: Array) -> Array:
    return masked_cross_entropy(head(hidden_BTD), targets_BT, marked_BT)[0]

  def add(total: Array, tile: tuple[Array, Array, Array]) -> tuple[Array, None]:
    some = jnp.any(tile[2] != 0)
    return total + jax.lax.cond(some, nats, lambda *_: jnp.zeros(()), *tile), None

  start = jnp.zeros(())
  total, _ = jax.lax.scan(add, start, (cut(hidden_BLD), cut(targets_BL), marked_NBT))
  return total, jnp.sum(marked_BL, dtype=jnp.float32)
