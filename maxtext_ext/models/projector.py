"""Projectors: from the width of the encoder to that of the language model.

Chosen by the key `projector`. One is an `nnx.Module` made of a ProjectorConfig and `rngs`.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from maxtext_ext.models.layers import gelu, linear


@dataclass(frozen=True, kw_only=True)
class ProjectorConfig:
  """Shape of a projector: `in_dim` the encoder's width, `out_dim` the language model's."""

  in_dim: int
  out_dim: int
  dtype: DTypeLike = jnp.float32
  weight_dtype: DTypeLike = jnp.float32


class MLPProjector(nnx.Module):
  """linear_1, GELU, linear_2: in_dim -> in_dim -> out_dim.

  Source: `Qwen3ASRMultiModalProjector` (transformers, models/qwen3_asr); proj1 and proj2 of the
  original checkpoints.
  """

  def __init__(self, config: ProjectorConfig, *, rngs: nnx.Rngs) -> None:
    dtypes: dict[str, Any] = {"dtype": config.dtype, "weight_dtype": config.weight_dtype}
    self.linear_1 = linear(config.in_dim, config.in_dim, ("embed", "mlp"), rngs=rngs, **dtypes)
    self.linear_2 = linear(config.in_dim, config.out_dim, ("mlp", "embed"), rngs=rngs, **dtypes)

  def __call__(self, x: Float[Array, "*N in_dim"]) -> Float[Array, "*N out_dim"]:
    """Projects every token alone."""
    return self.linear_2(gelu(self.linear_1(x)))

  @staticmethod
  def flops_per_token(config: ProjectorConfig) -> int:
    """FLOPs of the matrix products of a forward pass over one token."""
    return 2 * config.in_dim * (config.in_dim + config.out_dim)


PROJECTORS: dict[str, Any] = {"mlp": MLPProjector}


def find_projector(name: str) -> Any:
  """Returns the class of a projector.

  Raises:
    ValueError: there is none of that name.
  """
  if name not in PROJECTORS:
    raise ValueError(f"projector={name}, expected one of {', '.join(PROJECTORS)}")
  return PROJECTORS[name]
