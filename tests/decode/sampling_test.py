"""Drawn tokens against the softmax, the repetition penalty against transformers'."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from maxtext_ext.decode import head, sampling

GOLDEN = Path(__file__).parents[1] / "golden" / "repetition_penalty.npz"
DRAWS = 20_000
LOGITS_V = jnp.asarray([1.0, -2.0, 0.3, 3.0, 0.0, -0.5])


def seed_of(number: int) -> jax.Array:
  return jnp.asarray([0, number], jnp.uint32)


@functools.cache
def noise(seed: int, number: int) -> jax.Array:
  return sampling.noise(seed_of(seed), jnp.asarray(number), len(LOGITS_V))[:VOCAB]


@functools.cache
def draws(seed: int, temperature: float) -> np.ndarray:
  """Tokens 0, 1, ... of a text whose logits are always the same."""
  numbers = jnp.arange(DRAWS)
  noise = jax.vmap(lambda n: sampling.noise(seed_of(seed), n, len(LOGITS_V)))(numbers)
  return np.argmax(LOGITS_V / temperature + noise, axis=1)


def test_the_penalty_is_that_of_transformers():
  golden = np.load(GOLDEN)
  arrays = [jnp.asarray(golden[name]) for name in ("scores", "history", "written", "penalty")]
  found = jax.vmap(sampling.penalise)(*arrays)
  np.testing.assert_array_equal(found, golden["processed"])
  assert (found != golden["scores"]).any(axis=1).tolist() == [False, True, True, False, True, True]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_from_the_softmax(temperature):
  expected = DRAWS * jax.nn.softmax(LOGITS_V / temperature)
  counts = np.bincount(draws(3, temperature), minlength=len(LOGITS_V))
  assert stats.chisquare(counts, expected, sum_check=False).pvalue > 0.01


def test_draws_of_other_steps_and_other_seeds_are_independent():
  mine, other = draws(3, 2.0), draws(4, 2.0)
  for first, second in ((mine[:-1], mine[1:]), (mine, other)):
    table = np.zeros((len(LOGITS_V),) * 2)
    np.add.at(table, (first, second), 1)
    assert stats.chi2_contingency(table).pvalue > 0.01


# Slots: plain, drawn, penalised, both, and a free one whose last clip was drawn.
TEMPERATURE_B = [0.0, 0.7, 0.0, 0.7, 0.7]
PENALTY_B = [1.0, 1.0, 1.8, 1.8, 1.0]
VOCAB = 5


def state(**changes) -> dict[str, jax.Array]:
  return {
    "temperature": jnp.asarray(TEMPERATURE_B),
    "penalty": jnp.asarray(PENALTY_B),
    "seed": jnp.stack([seed_of(i) for i in range(5)]),
    "history": jnp.tile(jnp.asarray([3, 0, 1]), (5, 1)),
    "written": jnp.full(5, 2),
    **changes,
  }


@jax.jit
def choose(state, live_B):
  logits_VB = jnp.tile(LOGITS_V[:, None], (1, 5)).at[VOCAB].set(50.0)
  likeliest = head.choose(logits_VB, VOCAB)
  chosen = sampling.choose_controlled(logits_VB, likeliest, state, live_B, VOCAB)
  return likeliest, chosen


def test_slots_have_controls_of_their_own():
  live_B = jnp.asarray([True, True, True, True, False])
  penalised_V = LOGITS_V.at[jnp.asarray([3, 0])].divide(1.8)  # the third token is no text yet
  seen = []
  for step in range(12):
    now = state(written=jnp.asarray([2, step, 2, 2, step]))
    (best_B, best_log_B), (token_B, log_B) = choose(now, live_B)
    assert token_B[0] == best_B[0] == 3 and log_B[0] == best_log_B[0]
    noise_V = noise(1, step)
    assert token_B[1] == jnp.argmax(LOGITS_V[:VOCAB] / 0.7 + noise_V)
    assert token_B[2] == jnp.argmax(penalised_V[:VOCAB])
    noise_V = noise(3, 2)
    assert token_B[3] == jnp.argmax(penalised_V[:VOCAB] / 0.7 + noise_V)
    assert token_B[4] == 3, "a free slot draws nothing"
    want_B = jax.nn.log_softmax(LOGITS_V[:VOCAB])[token_B]
    np.testing.assert_allclose(log_B, want_B, atol=1e-6)  # those of the model
    seen.append(int(token_B[1]))
  assert len(set(seen)) > 1


def test_without_controls_the_likeliest_are_kept():
  plain = state(temperature=jnp.zeros(5), penalty=jnp.ones(5))
  likeliest, chosen = choose(plain, jnp.ones(5, bool))
  for want, found in zip(likeliest, chosen, strict=True):
    np.testing.assert_array_equal(found, want)
