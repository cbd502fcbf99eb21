"""The projector by hand; with real weights it is compared in encoders/qwen3_audio_test.py."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from scipy.special import erf

from maxtext_ext.models.projector import MLPProjector, ProjectorConfig


def test_is_two_linears_with_an_exact_gelu_between():
  config = ProjectorConfig(in_dim=6, out_dim=10)
  projector = MLPProjector(config, rngs=nnx.Rngs(params=0))
  projector.linear_1.bias[...] = jnp.linspace(-2, 2, 6)
  x = np.random.default_rng(0).normal(size=(2, 3, 6)).astype(np.float32)
  hidden = x @ np.asarray(projector.linear_1.kernel[...]) + np.linspace(-2, 2, 6)
  hidden = hidden * (1 + erf(hidden / np.sqrt(2))) / 2
  want = hidden @ np.asarray(projector.linear_2.kernel[...])
  np.testing.assert_allclose(projector(jnp.asarray(x)), want, rtol=0, atol=1e-5)
  assert projector.linear_1.kernel.get_metadata("out_sharding") == ("embed", "mlp")
  assert projector.linear_2.kernel.get_metadata("out_sharding") == ("mlp", "embed")


def test_computes_in_dtype():
  config = ProjectorConfig(in_dim=4, out_dim=8, dtype=jnp.bfloat16)
  projector = MLPProjector(config, rngs=nnx.Rngs(params=0))
  assert projector(jnp.ones((1, 4))).dtype == jnp.bfloat16
  assert projector.linear_1.kernel[...].dtype == jnp.float32
