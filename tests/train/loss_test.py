"""The loss counts what it should, and nothing else moves it."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.train.loss import masked_cross_entropy


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
