"""The loss counts what it should, and nothing else moves it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.models.loss import masked_cross_entropy, tiled_cross_entropy


def loss_of(*arrays):
  total, count = masked_cross_entropy(*map(jnp.asarray, arrays))
  return float(total), float(count)


@given(st.integers(0, 2**32 - 1))
def test_equals_the_sum_over_the_marked_positions(seed):
  rng = np.random.default_rng(seed)
  logits = rng.normal(size=(2, 5, 7)).astype(np.float32) * 3
  targets = rng.integers(0, 7, (2, 5)).astype(np.int32)
  marks = rng.integers(0, 3, (2, 5)).astype(np.int32)
  total, count = loss_of(logits, targets, marks)
  log_probs = logits - np.log(np.exp(logits.astype(np.float64)).sum(-1, keepdims=True))
  expected = -sum(log_probs[b, i, targets[b, i]] for b, i in zip(*np.nonzero(marks), strict=True))
  np.testing.assert_allclose(float(total), expected, rtol=1e-5, atol=1e-5)
  assert float(count) == np.count_nonzero(marks)


def test_unmarked_positions_do_not_count():
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(1, 4, 6)).astype(np.float32)
  targets, marks = np.zeros((1, 4), np.int32), np.array([[0, 1, 1, 0]], np.int32)
  other = logits.copy()
  other[:, [0, 3]] = 1e4
  assert loss_of(logits, targets, marks) == loss_of(other, targets, marks)


@functools.partial(jax.jit, static_argnames="tiles")
@functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
def tiled_loss(hidden, table, targets, marks, *, tiles):
  return tiled_cross_entropy(lambda x: x @ table, hidden, targets, marks, tiles=tiles)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_tiles_change_neither_loss_nor_gradients(seed, tiles):
  rng = np.random.default_rng(seed)
  hidden = jnp.asarray(rng.normal(size=(2, 9, 4)), jnp.float32)
  table = jnp.asarray(rng.normal(size=(4, 7)), jnp.float32)
  targets = jnp.asarray(rng.integers(0, 7, (2, 9)), jnp.int32)
  marks = jnp.asarray(rng.integers(0, 2, (2, 9)) * rng.integers(0, 2, (2, 1)), jnp.int32)
  whole = tiled_loss(hidden, table, targets, marks, tiles=1)
  parts = tiled_loss(hidden, table, targets, marks, tiles=tiles)
  for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
    np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5)


def test_logits_are_made_only_where_targets_are():
  """Counts rows of the head's product that are really computed, on a batch with few targets."""
  seen = []
  marks = np.zeros((2, 16), np.int32)
  marks[0, 3], marks[1, 9:12] = 1, 2

  def head(hidden):
    jax.debug.callback(lambda x: seen.append(x.shape), hidden)
    return hidden

  total, count = tiled_cross_entropy(
    head, jnp.zeros((2, 16, 5)), jnp.zeros((2, 16), jnp.int32), jnp.asarray(marks), tiles=8
  )
  jax.effects_barrier()
  assert seen == [(2, 2, 5)] * 2  # three targets of the second row: pieces of 2 and 1
  assert float(count) == 4
  np.testing.assert_allclose(float(total), 4 * np.log(5), rtol=1e-6)
