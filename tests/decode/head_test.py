"""The choice of tokens against argmax and log_softmax, loops against their definition."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.decode import head


def test_the_likeliest_token_is_chosen_the_lowest_among_equals():
  rng = np.random.default_rng(0)
  logits_VB = rng.integers(-3, 3, (40, 5)).astype(np.float32)  # with ties
  logits_VB[37] = 100.0  # beyond the vocabulary
  token_B, log_prob_B = head.choose(jnp.asarray(logits_VB), 37)
  assert token_B.tolist() == np.argmax(logits_VB[:37], axis=0).tolist()
  want = jax.nn.log_softmax(logits_VB[:37], axis=0)[token_B, np.arange(5)]
  np.testing.assert_allclose(log_prob_B, want, atol=1e-6)


def loops(tokens: list[int], repeats: int) -> bool:
  """Returns whether the last 1 to LONGEST_PERIOD tokens stand there `repeats` times in a row."""
  return any(
    len(tokens) >= n * repeats and tokens[-n * repeats :] == tokens[-n:] * repeats
    for n in range(1, head.LONGEST_PERIOD + 1)
  )


@given(
  text=st.lists(st.integers(0, 2), max_size=30),
  phrase=st.lists(st.integers(0, 2), min_size=1, max_size=18),
  times=st.integers(1, 6),
  repeats=st.integers(2, 5),
)
def test_a_loop_is_noticed_when_it_is_there(text, phrase, times, repeats):
  tokens = text + phrase * times
  runs = jnp.zeros((1, head.LONGEST_PERIOD), jnp.int32)
  recent = jnp.full((1, head.LONGEST_PERIOD), -1, jnp.int32)
  noticed = []
  for token in tokens:
    runs, recent = _repeat_runs(runs, recent, jnp.asarray([token], jnp.int32))
    noticed.append(bool(_is_loop(runs, repeats)[0]))
  assert noticed == [loops(tokens[: end + 1], repeats) for end in range(len(tokens))]
  assert not head.is_loop(runs, 0).any()


_repeat_runs = jax.jit(head.repeat_runs)
_is_loop = jax.jit(head.is_loop, static_argnums=1)
