"""Batch normalisation over the real steps of all rows, and of all devices."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from maxtext_ext.models.layers import metadata

EPSILON = 1e-5


class RunningStatistic(nnx.Param):
  """A statistic of training batches, saved with the parameters, but without a gradient."""


class BatchNorm(nnx.Module):
  """Normalises each value of the steps by its mean and variance, in float32.

  In training these are the batch's, summed over its real steps alone: under `jit` a sum over rows
  is one over all devices. Running averages of them take their place elsewhere. Padding steps are 0
  in the result. Source: Ioffe and Szegedy, Batch Normalization (2015).
  """

  def __init__(
    self,
    dim: int,
    *,
    momentum: float = 0.9,
    out_dtype: DTypeLike,
    weight_dtype: DTypeLike,
  ) -> None:
    self.scale = nnx.Param(jnp.ones(dim, weight_dtype), **metadata("norm"))
    self.bias = nnx.Param(jnp.zeros(dim, weight_dtype), **metadata("norm"))
    self.mean = RunningStatistic(jnp.zeros(dim, jnp.float32), **metadata("norm"))
    self.variance = RunningStatistic(jnp.ones(dim, jnp.float32), **metadata("norm"))
    self.momentum = momentum
    self.out_dtype = out_dtype

  def __call__(
    self, x_BTD: Float[Array, "B T D"], real_BT: Bool[Array, "B T"], *, train: bool
  ) -> Float[Array, "B T D"]:
    """Normalises the real steps; in training, moves the running averages too."""
    x_BTD, real_BT1 = x_BTD.astype(jnp.float32), real_BT[..., None]
    if train:
      steps = jnp.sum(real_BT, dtype=jnp.float32)

      def average(x_BTD: Array) -> Array:
        return jnp.sum(jnp.where(real_BT1, x_BTD, 0), axis=(0, 1)) / jnp.maximum(steps, 1)

      mean_D = average(x_BTD)
      variance_D = average(jnp.square(x_BTD - mean_D))
      rate = jnp.where(steps > 0, 1 - self.momentum, 0)  # a batch may be empty
      for running, new_D in ((self.mean, mean_D), (self.variance, variance_D)):
        running[...] += rate * (jax.lax.stop_gradient(new_D) - running[...])
    else:
      mean_D, variance_D = self.mean[...], self.variance[...]
    scale_D = self.scale[...].astype(jnp.float32) * jax.lax.rsqrt(variance_D + EPSILON)
    y_BTD = (x_BTD - mean_D) * scale_D + self.bias[...].astype(jnp.float32)
    return jnp.where(real_BT1, y_BTD, 0).astype(self.out_dtype)
