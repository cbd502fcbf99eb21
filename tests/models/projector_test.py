"""Projectors against PyTorch and by hand; Qwen3-ASR's again in encoders/qwen3_audio_test.py."""

import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import erf

from maxtext_ext.models.projector import (
  PROJECTORS,
  MLPProjector,
  NormedMLPProjector,
  ProjectorConfig,
)


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


GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "projectors.npz")


def filled(name: str) -> nnx.Module:
  """A projector with the weights of PyTorch's, whose layers are counted from 0 in a sequence."""
  layers = {"slam": {"linear_1": 0, "linear_2": 2}}.get(
    name, {"linear_1": 0, "norm_1": 1, "linear_2": 3, "norm_2": 4}
  )
  config = ProjectorConfig(in_dim=20, hidden_dim=24, out_dim=12)
  projector = PROJECTORS[name](config, rngs=nnx.Rngs(params=0))
  state = nnx.state(projector, nnx.Param).to_pure_dict()
  for layer, place in layers.items():
    weight = GOLDEN[f"{name}/{place}.weight"]
    stored = {"scale": weight} if layer.startswith("norm") else {"kernel": weight.T}
    if name == "slam":
      stored["bias"] = GOLDEN[f"{name}/{place}.bias"]
    assert state[layer].keys() == stored.keys()
    state[layer] = {key: jnp.asarray(value) for key, value in stored.items()}
  nnx.update(projector, state)
  return projector


@pytest.mark.parametrize("name", ["slam", "normed_mlp"])
def test_equals_torch(name):
  y = filled(name)(jnp.asarray(GOLDEN["x"]))
  want = GOLDEN[f"{name}/y"]
  np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-6 * np.abs(want).max())


def test_a_new_normed_mlp_gives_tokens_of_size_one_whatever_the_encoder_s():
  config = ProjectorConfig(in_dim=64, out_dim=96)
  projector = NormedMLPProjector(config, rngs=nnx.Rngs(params=0))
  x = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)
  for size in (0.01, 1, 100):
    y = np.asarray(projector(jnp.asarray(size * x)))
    np.testing.assert_allclose(np.sqrt(np.mean(y**2, axis=-1)), 1, rtol=0.01)


@pytest.mark.parametrize(
  ("name", "hidden", "want"),
  [("slam", 0, 2048), ("slam", 7, 7), ("normed_mlp", 0, 12), ("normed_mlp", 7, 7)],
)
def test_the_width_inside_has_a_default_and_counts(name, hidden, want):
  config = ProjectorConfig(in_dim=20, out_dim=12, hidden_dim=hidden, dtype=jnp.bfloat16)
  projector = PROJECTORS[name](config, rngs=nnx.Rngs(params=0))
  kernels = [projector.linear_1.kernel, projector.linear_2.kernel]
  assert [kernel.shape for kernel in kernels] == [(20, want), (want, 12)]
  assert PROJECTORS[name].flops_per_token(config) == 2 * sum(np.prod(k.shape) for k in kernels)
  assert projector(jnp.ones((3, 20))).dtype == jnp.bfloat16
