"""LayerNorm, the halving convolution and GELU against numpy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from scipy.signal import correlate2d
from scipy.special import erf

from maxtext_ext.models.layers import HalvingConv, LayerNorm, gelu, halving_convolution

FLOAT32 = {"weight_dtype": jnp.float32}


@pytest.mark.parametrize(("frames", "mels"), [(100, 80), (25, 20), (13, 7), (1, 1)])
def test_convolution_halves_rounding_up(frames, mels):
  rng = np.random.default_rng(0)
  conv = HalvingConv(2, 3, dtype=jnp.float32, rngs=nnx.Rngs(params=0), **FLOAT32)
  conv.bias[...] = jnp.arange(3.0)
  x = rng.normal(size=(1, frames, mels, 2)).astype(np.float32)
  kernel = np.asarray(conv.kernel[...], np.float64)  # mel, time, in, out
  padded = np.pad(x[0].astype(np.float64), ((1, 1), (1, 1), (0, 0)))
  want = np.stack(
    [
      o + sum(correlate2d(padded[..., i], kernel[..., i, o].T, "valid")[::2, ::2] for i in range(2))
      for o in range(3)
    ],
    axis=-1,
  )
  got = np.asarray(conv(jnp.asarray(x)))[0]
  assert got.shape == ((frames + 1) // 2, (mels + 1) // 2, 3)
  np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("frames", "mels"), [(100, 80), (25, 20), (13, 7), (1, 1)])
def test_gradients_of_the_convolution_are_those_of_xla(frames, mels):
  rng = np.random.default_rng(0)
  x, kernel = (
    jnp.asarray(rng.normal(size=shape), jnp.float32)
    for shape in ((2, frames, mels, 3), (3, 3, 3, 5))
  )
  out, transpose = jax.vjp(halving_convolution, x, kernel)
  d = jnp.asarray(rng.normal(size=out.shape), jnp.float32)

  def plain(x, kernel):
    dimensions = ("NWHC", "HWIO", "NWHC")
    return lax.conv_general_dilated(
      x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=dimensions
    )

  want_out, want_transpose = jax.vjp(plain, x, kernel)
  np.testing.assert_array_equal(out, want_out)
  for got, want in zip(transpose(d), want_transpose(d), strict=True):
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())


def test_layer_norm_is_float32_inside():
  """bfloat16 input with a mean that its square would drown."""
  norm = LayerNorm(64, out_dtype=jnp.bfloat16, rngs=nnx.Rngs(params=0), **FLOAT32)
  x = jnp.asarray(300 + 8 * np.random.default_rng(0).normal(size=(5, 64)), jnp.bfloat16)
  wide = np.asarray(x, np.float64)
  want = (wide - wide.mean(-1, keepdims=True)) / np.sqrt(wide.var(-1, keepdims=True) + 1e-5)
  got = norm(x)
  assert got.dtype == jnp.bfloat16
  np.testing.assert_allclose(np.asarray(got, np.float64), want, rtol=2**-8, atol=1e-4)


def test_gelu_is_by_the_error_function():
  x = np.linspace(-4, 4, 101)
  want = x * (1 + erf(x / np.sqrt(2))) / 2
  np.testing.assert_allclose(gelu(jnp.asarray(x, jnp.float32)), want, rtol=0, atol=1e-6)
