"""The mask covers what it names and nothing else."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.audio.augment import apply_chunk_mask

spans = st.tuples(st.integers(0, 12), st.integers(0, 12)).map(sorted)


@given(st.lists(st.tuples(spans, spans), min_size=4, max_size=4))
def test_masked_is_zero_and_the_rest_untouched(masks):
  mel = np.arange(1, 1 + 4 * 10 * 8, dtype=np.float32).reshape(1, 2, 2, 10, 8)
  chunk_mask = np.array([[*m, *f] for m, f in masks], np.int32).reshape(1, 2, 2, 4)
  got = np.asarray(apply_chunk_mask(jnp.asarray(mel), jnp.asarray(chunk_mask)))
  expected = mel.copy()
  for at in np.ndindex(1, 2, 2):
    m0, m1, f0, f1 = chunk_mask[at]
    expected[at][:, m0:m1] = 0.0
    expected[at][f0:f1] = 0.0
  np.testing.assert_array_equal(got, expected)
