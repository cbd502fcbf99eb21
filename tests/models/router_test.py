"""The router's loss: the published formula, over real tokens only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from maxtext_ext.models.router import balance_losses, summed_balance_loss

EXPERTS, CHOSEN = 6, 2


def published(logits_LE: np.ndarray) -> float:
  """transformers' load_balancing_loss_func of the tokens of one layer, in numpy."""
  chances = np.exp(logits_LE) / np.exp(logits_LE).sum(-1, keepdims=True)
  order = np.argsort(-chances, axis=-1)[:, :CHOSEN]
  mask_LKE = np.eye(EXPERTS)[order]
  return float((mask_LKE.mean(0) * chances.mean(0)).sum() * EXPERTS)


def rows(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
  """Logits of three rows, the last without a token, and which tokens are real."""
  logits = np.random.default_rng(seed).normal(0, 2, (3, 10, EXPERTS)).astype(np.float32)
  real = np.arange(10) < np.array([10, 4, 0])[:, None]
  return logits, real


def test_a_row_has_the_published_loss_of_its_real_tokens():
  logits, real = rows()
  losses = balance_losses(jnp.asarray(logits), jnp.asarray(real), experts_per_token=CHOSEN)
  np.testing.assert_allclose(losses[0], published(logits[0]), rtol=1e-5)
  np.testing.assert_allclose(losses[1], published(logits[1, :4]), rtol=1e-5)
  assert losses[2] == 0


def test_even_use_has_the_least_loss_and_one_favourite_the_largest():
  even = np.tile(np.eye(EXPERTS, dtype=np.float32), (1, 2, 1)) * 1e-3
  even += np.roll(even, 1, axis=-1) * 0.5
  biased = even.copy()
  biased[..., :CHOSEN] += 20
  real = jnp.ones(even.shape[:2], bool)
  of = [
    float(balance_losses(jnp.asarray(x), real, experts_per_token=CHOSEN)[0]) for x in (even, biased)
  ]
  assert of == pytest.approx([CHOSEN, EXPERTS], rel=1e-3)


def test_rows_add_up_by_their_tokens_and_layers_have_a_mean():
  logits, real = rows()
  other, _ = rows(1)
  gate = {"gate": {"logits": nnx.Intermediate(jnp.asarray(np.stack([logits, other])))}}
  scanned = nnx.State({"decoder": {"layers": {"moe_block": gate}}})
  single = nnx.State(
    {
      f"layers_{i}": {"moe_block": {"gate": {"logits": nnx.Intermediate(jnp.asarray(x))}}}
      for i, x in enumerate((logits, other))
    }
  )
  expected = np.mean([10 * published(x[0]) + 4 * published(x[1, :4]) for x in (logits, other)])
  for state in (scanned, single):
    total = summed_balance_loss(state, jnp.asarray(real), experts_per_token=CHOSEN)
    np.testing.assert_allclose(total, expected, rtol=1e-5)


def test_the_gradient_moves_tokens_from_the_favourite_to_the_others():
  logits = np.zeros((1, 8, EXPERTS), np.float32)
  logits[..., 0] = 3
  logits[..., 1] = 2.9
  slope = jax.grad(
    lambda x: jnp.sum(balance_losses(x, jnp.ones((1, 8), bool), experts_per_token=CHOSEN))
  )(jnp.asarray(logits))
  assert np.all(slope[..., :CHOSEN] > 0) and np.all(slope[..., CHOSEN:] < 0)
