"""Layers of encoders and projectors, their parameters named, sharded and initialised in one way."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.linen import with_logical_constraint
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

Initializer = Callable[..., jax.Array]


def metadata(*axes: str | None) -> dict[str, Any]:
  """Returns the metadata of a parameter: its logical axis names, as MaxText's layers have them.

  They become a sharding where the train state is made, by the rules of the run's config. Before
  that no mesh is needed: a parameter can be made, and the model run, on one device.
  """
  return {"out_sharding": axes, "eager_sharding": False}


def by_rows(x: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
  """Divides the rows of `x` over the data axes of the mesh; does nothing without a mesh."""
  return with_logical_constraint(x, ("activation_batch", *(None,) * (x.ndim - 1)))


def fan_in_normal(scale: float = 1.0) -> Initializer:
  """Returns an initialiser that draws normal weights of variance `scale` / fan-in."""
  return nnx.initializers.variance_scaling(scale, "fan_in", "truncated_normal")


def linear(
  in_dim: int,
  out_dim: int,
  axes: tuple[str | None, str | None],
  *,
  dtype: DTypeLike,
  weight_dtype: DTypeLike,
  rngs: nnx.Rngs,
  use_bias: bool = True,
  scale: float = 1.0,
) -> nnx.Linear:
  """Makes a linear layer: `kernel` [in_dim, out_dim] sharded by `axes`, `bias` by the last."""
  return nnx.Linear(
    in_dim,
    out_dim,
    use_bias=use_bias,
    dtype=dtype,
    param_dtype=weight_dtype,
    kernel_init=fan_in_normal(scale),
    kernel_metadata=metadata(*axes),
    bias_metadata=metadata(axes[1]),
    rngs=rngs,
  )


def gelu(x: Array) -> Array:
  """Computes x * Phi(x) by the error function; the tanh approximation is off by up to 5e-4."""
  return jax.nn.gelu(x, approximate=False)


class LayerNorm(nnx.LayerNorm):
  """LayerNorm that computes in float32 whatever its input, and returns `out_dtype`."""

  def __init__(
    self, dim: int, *, out_dtype: DTypeLike, weight_dtype: DTypeLike, rngs: nnx.Rngs
  ) -> None:
    super().__init__(
      dim,
      epsilon=1e-5,
      dtype=jnp.float32,
      param_dtype=weight_dtype,
      use_fast_variance=False,  # E[x^2] - E[x]^2 cancels where the mean is large
      scale_metadata=metadata("norm"),
      bias_metadata=metadata("norm"),
      rngs=rngs,
    )
    self.out_dtype = out_dtype

  def __call__(self, x: Float[Array, "*N D"]) -> Float[Array, "*N D"]:
    """Normalises over the last axis."""
    return super().__call__(x).astype(self.out_dtype)


class RMSNorm(nnx.RMSNorm):
  """RMSNorm that computes in float32 whatever its input, and returns `out_dtype`."""

  def __init__(
    self, dim: int, *, out_dtype: DTypeLike, weight_dtype: DTypeLike, rngs: nnx.Rngs
  ) -> None:
    super().__init__(
      dim,
      epsilon=1e-6,
      dtype=jnp.float32,
      param_dtype=weight_dtype,
      scale_metadata=metadata("norm"),
      rngs=rngs,
    )
    self.out_dtype = out_dtype

  def __call__(self, x: Float[Array, "*N D"]) -> Float[Array, "*N D"]:
    """Normalises over the last axis."""
    return super().__call__(x).astype(self.out_dtype)


def _convolve(x_NFMI: Array, kernel: Array) -> Array:
  """Convolves 3x3 with stride 2 and padding 1 over the two middle axes; the kernel is HWIO."""
  return lax.conv_general_dilated(
    x_NFMI,
    kernel,
    window_strides=(2, 2),
    padding=((1, 1), (1, 1)),
    dimension_numbers=("NWHC", "HWIO", "NWHC"),
  )


def _convolve_in_order(x_NFMI: Array, kernel: Array) -> Array:
  """Computes `_convolve` with the kernel's axes in the order of the input's.

  XLA on a CPU does that by itself only outside of loops, and takes a naive nest of loops for
  crossed axes, 30 times slower. The last bits differ, so training keeps the crossed form.
  """
  return lax.conv_general_dilated(
    x_NFMI,
    jnp.swapaxes(kernel, 0, 1),
    window_strides=(2, 2),
    padding=((1, 1), (1, 1)),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )


def _convolve_by_matmul(x_NFMI: Array, kernel: Array) -> Array:
  """Computes `_convolve` as one matrix product, the nine inputs of each output side by side."""
  outputs = kernel.shape[-1]
  frames, mels = (-(-size // 2) * 2 - 1 for size in x_NFMI.shape[1:3])
  padded = jnp.pad(x_NFMI, ((0, 0), (1, 1), (1, 1), (0, 0)))
  shifted = [padded[:, f : f + frames : 2, m : m + mels : 2] for m in range(3) for f in range(3)]
  return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(-1, outputs)


def _convolve_forward(x_NFMI: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
  return _convolve(x_NFMI, kernel), (x_NFMI, kernel)


def _convolve_backward(saved: tuple[Array, Array], d_NFMO: Array) -> tuple[Array, Array]:
  def gradients_of(convolve: Callable[[Array, Array], Array]) -> Callable[..., Any]:
    return lambda x_NFMI, kernel, d_NFMO: jax.vjp(convolve, x_NFMI, kernel)[1](d_NFMO)

  # On a CPU, XLA's own gradients take twice the time of the matrix products.
  return lax.platform_dependent(
    *saved, d_NFMO, cpu=gradients_of(_convolve_by_matmul), default=gradients_of(_convolve)
  )


halving_convolution = jax.custom_vjp(_convolve_in_order)  # without a gradient
halving_convolution.defvjp(_convolve_forward, _convolve_backward)


class HalvingConv(nnx.Module):
  """3x3 convolution with stride 2 and padding 1: halves time and mel, rounding up.

  `kernel` is HWIO with H the mel axis and W the time axis; `bias` [O].
  """

  def __init__(
    self,
    in_channels: int,
    out_channels: int,
    *,
    dtype: DTypeLike,
    weight_dtype: DTypeLike,
    rngs: nnx.Rngs,
  ) -> None:
    shape = (3, 3, in_channels, out_channels)
    kernel = fan_in_normal(2.0)(rngs.params(), shape, weight_dtype)  # He: GELU drops half
    self.kernel = nnx.Param(kernel, **metadata(None, None, None, None))
    self.bias = nnx.Param(jnp.zeros(out_channels, weight_dtype), **metadata(None))
    self.dtype = dtype

  def __call__(self, x_NFMI: Float[Array, "N F M I"]) -> Float[Array, "N F2 M2 O"]:
    """Convolves over time F and mel M."""
    y_NFMO = halving_convolution(
      x_NFMI.astype(self.dtype), jnp.asarray(self.kernel[...], self.dtype)
    )
    return y_NFMO + self.bias[...].astype(self.dtype)
