"""Transformer layers of encoders: LayerNorm in front of attention and of feed-forward.

The parameters of all layers are stacked: the leading axis of `layers` counts them.
"""

from collections.abc import Callable
from typing import Any, Self

import jax
import pydantic
from flax import nnx
from jax import lax
from jaxtyping import Array, Float
from pydantic import Field

from maxtext_ext.models.encoders.base import EncoderConfig
from maxtext_ext.models.layers import LayerNorm, by_rows, gelu, linear

# Queries (scaled), keys and values [B, W, A, N, H] -> [B, W, A, N, H].
Attend = Callable[[Array, Array, Array], Array]


class TransformerConfig(EncoderConfig):
  """Shape of an encoder with transformer layers; LayerNorm and softmax are float32 always."""

  layers: int = Field(ge=1)
  d_model: int = Field(ge=1)
  heads: int = Field(ge=1)
  ffn_dim: int = Field(ge=1)

  @pydantic.model_validator(mode="after")
  def _check_width(self) -> Self:
    if self.d_model % self.heads or self.d_model % 2:
      raise ValueError(f"d_model={self.d_model} must be even and a multiple of heads={self.heads}")
    return self

  def layers_flops(self, positions: int) -> float:
    """FLOPs of the matrix products of all layers for positions that attend to each other."""
    layer = 2 * (4 * self.d_model**2 + 2 * self.d_model * self.ffn_dim)
    return positions * self.layers * (layer + 4 * positions * self.d_model)


class Attention(nnx.Module):
  """Multi-head attention inside each window."""

  def __init__(self, config: TransformerConfig, *, key_bias: bool, rngs: nnx.Rngs) -> None:
    dim = config.d_model
    dtypes: dict[str, Any] = {"dtype": config.dtype, "weight_dtype": config.weight_dtype}
    self.q_proj = linear(dim, dim, ("embed", "heads"), rngs=rngs, **dtypes)
    self.k_proj = linear(dim, dim, ("embed", "heads"), use_bias=key_bias, rngs=rngs, **dtypes)
    self.v_proj = linear(dim, dim, ("embed", "heads"), rngs=rngs, **dtypes)
    scale = 1 / (2 * config.layers)  # keeps the residual sum from growing with depth
    self.out_proj = linear(dim, dim, ("heads", "embed"), scale=scale, rngs=rngs, **dtypes)
    self.heads = config.heads

  def __call__(self, x_BWAD: Float[Array, "B W A D"], attend: Attend) -> Float[Array, "B W A D"]:
    """Attends as `attend` does."""
    by_head = (*x_BWAD.shape[:-1], self.heads, -1)
    q_BWANH = self.q_proj(x_BWAD).reshape(by_head)
    k_BWANH = self.k_proj(x_BWAD).reshape(by_head)
    v_BWANH = self.v_proj(x_BWAD).reshape(by_head)
    out_BWANH = attend(q_BWANH * q_BWANH.shape[-1] ** -0.5, k_BWANH, v_BWANH)
    return self.out_proj(out_BWANH.reshape(x_BWAD.shape))


class EncoderLayer(nnx.Module):
  """Pre-LayerNorm attention and feed-forward."""

  def __init__(self, config: TransformerConfig, *, key_bias: bool, rngs: nnx.Rngs) -> None:
    dim, ffn_dim = config.d_model, config.ffn_dim
    dtypes: dict[str, Any] = {"dtype": config.dtype, "weight_dtype": config.weight_dtype}
    norms = {"out_dtype": config.dtype, "weight_dtype": config.weight_dtype}
    self.self_attn_layer_norm = LayerNorm(dim, rngs=rngs, **norms)
    self.self_attn = Attention(config, key_bias=key_bias, rngs=rngs)
    self.final_layer_norm = LayerNorm(dim, rngs=rngs, **norms)
    self.fc1 = linear(dim, ffn_dim, ("embed", "mlp"), rngs=rngs, **dtypes)
    scale = 1 / (2 * config.layers)
    self.fc2 = linear(ffn_dim, dim, ("mlp", "embed"), scale=scale, rngs=rngs, **dtypes)

  def __call__(self, x_BWAD: Float[Array, "B W A D"], attend: Attend) -> Float[Array, "B W A D"]:
    """Applies the layer to all windows."""
    x_BWAD = x_BWAD + self.self_attn(self.self_attn_layer_norm(x_BWAD), attend)
    return x_BWAD + self.fc2(gelu(self.fc1(self.final_layer_norm(x_BWAD))))


def stack_layers(config: TransformerConfig, *, key_bias: bool, rngs: nnx.Rngs) -> EncoderLayer:
  """Makes all layers of an encoder, their parameters stacked."""

  @nnx.split_rngs(splits=config.layers)
  @nnx.vmap(in_axes=(0,), out_axes=0, transform_metadata={nnx.PARTITION_NAME: "layers"})
  def stack(rngs: nnx.Rngs) -> EncoderLayer:
    return EncoderLayer(config, key_bias=key_bias, rngs=rngs)

  return stack(rngs)


def run_layers(
  layers: EncoderLayer, x_BWAD: Float[Array, "B W A D"], attend: Attend, config: TransformerConfig
) -> Float[Array, "B W A D"]:
  """Scans over stacked layers: one layer is compiled, whatever their number.

  Rows stay on their devices and weights come to them; else the compiler may split a layer's width
  instead, and send every activation round.
  """
  graph, stacked = nnx.split(layers)

  def step(x_BWAD: Array, layer: nnx.State) -> tuple[Array, None]:
    return by_rows(nnx.merge(graph, layer)(by_rows(x_BWAD), attend)), None

  if config.remat:
    # A loop has nothing that the compiler could find twice.
    step = jax.checkpoint(step, prevent_cse=config.unroll)
  x_BWAD, _ = lax.scan(step, x_BWAD, stacked, unroll=config.unroll)
  return x_BWAD
