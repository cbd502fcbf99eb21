"""Batch norm against numpy: real steps alone count, whatever the padding and the devices."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from maxtext_ext.models.batch_norm import EPSILON, BatchNorm
from tests.train.processes import ROOT, environment, xla_flags

LENGTHS = np.asarray([7, 1, 0, 4])


def padded(steps: int, padding: float) -> tuple[jax.Array, jax.Array]:
  """Rows of the same real steps, whatever the padding."""
  real = 3 + 2 * np.random.default_rng(0).normal(size=(4, 7, 5))
  x = np.full((4, steps, 5), padding, np.float32)
  is_real = np.arange(steps) < LENGTHS[:, None]
  x[is_real] = real[np.arange(7) < LENGTHS[:, None]]
  return jnp.asarray(x), jnp.asarray(is_real)


def norm(dtype: type = jnp.float32) -> BatchNorm:
  made = BatchNorm(5, out_dtype=dtype, weight_dtype=jnp.float32)
  made.scale[...] = jnp.arange(1.0, 6.0)
  made.bias[...] = jnp.arange(5.0)
  return made


@pytest.mark.parametrize(("steps", "padding"), [(7, 0.0), (12, 1e3)])
def test_real_steps_are_normalised_by_their_own_statistics(steps: int, padding: float):
  x, is_real = padded(steps, padding)
  layer = norm()
  got = np.asarray(layer(x, is_real, train=True))
  real = np.asarray(x, np.float64)[is_real]
  mean, variance = real.mean(axis=0), real.var(axis=0)
  want = (real - mean) / np.sqrt(variance + EPSILON) * np.arange(1, 6) + np.arange(5)
  np.testing.assert_allclose(got[is_real], want, rtol=0, atol=1e-5)
  assert not got[~np.asarray(is_real)].any()
  np.testing.assert_allclose(layer.mean[...], 0.1 * mean, rtol=1e-6)
  np.testing.assert_allclose(layer.variance[...], 0.9 + 0.1 * variance, rtol=1e-6)


def test_running_averages_are_used_outside_of_training():
  x, is_real = padded(7, 0.0)
  layer = norm()
  for _ in range(200):
    in_training = layer(x, is_real, train=True)
  before = layer.mean[...]
  np.testing.assert_allclose(layer(x, is_real, train=False), in_training, rtol=0, atol=1e-4)
  np.testing.assert_array_equal(layer.mean[...], before)


def test_an_empty_batch_moves_nothing():
  x, is_real = padded(7, 0.0)
  layer = norm()
  assert not np.asarray(layer(x, is_real & False, train=True)).any()
  assert not layer.mean[...].any()
  np.testing.assert_array_equal(layer.variance[...], np.ones(5))


def test_gradients_do_not_see_padding():
  def gradient(steps: int, padding: float) -> np.ndarray:
    x, is_real = padded(steps, padding)
    graph, state = nnx.split(norm())

    def loss(x: jax.Array) -> jax.Array:
      return jnp.sum(jnp.sin(nnx.merge(graph, state, copy=True)(x, is_real, train=True)))

    found = np.asarray(jax.grad(loss)(x))
    assert not found[~np.asarray(is_real)].any()
    return found[is_real]

  np.testing.assert_allclose(gradient(7, 0.0), gradient(12, 1e3), rtol=0, atol=1e-5)


@pytest.mark.cpu_only
def test_eight_devices_normalise_as_one():
  found = []
  for devices in (1, 8):
    run = subprocess.run(
      [sys.executable, "-m", "tests.models.batch_norm_on_devices", str(devices)],
      cwd=ROOT,
      env=environment(XLA_FLAGS=xla_flags(devices)),
      stdout=subprocess.PIPE,
      check=True,
      text=True,
    )
    found.append(json.loads(run.stdout))
  for one, eight in zip(*found, strict=True):
    np.testing.assert_allclose(one, eight, rtol=0, atol=1e-6)
