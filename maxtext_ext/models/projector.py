"""Projectors: from the width of the encoder to that of the language model.

Chosen by the key `projector`. One is an `nnx.Module` made of a ProjectorConfig and `rngs`. Frames
are stacked by the encoder (`Geometry.stack`), so a projector sees every audio token alone.
"""

from dataclasses import dataclass
from typing import Any, Self

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from maxtext_ext.models.layers import RMSNorm, gelu, linear


@dataclass(frozen=True, kw_only=True)
class ProjectorConfig:
  """Shape of a projector.

  Attributes:
    in_dim: the encoder's width; `stack` times that of its layers where it stacks frames.
    out_dim: the language model's width.
    hidden_dim: width between the linear layers, where the kind has a choice; 0: its default.
  """

  in_dim: int
  out_dim: int
  hidden_dim: int = 0
  dtype: DTypeLike = jnp.float32
  weight_dtype: DTypeLike = jnp.float32

  @classmethod
  def from_keys(cls, config: Any, in_dim: int) -> Self:
    """Reads the configuration of a run, whose encoder is `in_dim` wide."""
    return cls(
      in_dim=in_dim,
      out_dim=config.emb_dim,
      hidden_dim=config.projector_hidden,
      dtype=config.dtype,
      weight_dtype=config.weight_dtype,
    )


def _flops(hidden: int, config: ProjectorConfig) -> int:
  return 2 * hidden * (config.in_dim + config.out_dim)


class MLPProjector(nnx.Module):
  """linear_1, GELU, linear_2: in_dim -> in_dim -> out_dim.

  `hidden_dim` is not read: the checkpoints have no other width.

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
  def hidden(config: ProjectorConfig) -> int:
    """Width between the linear layers."""
    return config.in_dim

  @classmethod
  def flops_per_token(cls, config: ProjectorConfig) -> int:
    """FLOPs of the matrix products of a forward pass over one token."""
    return _flops(cls.hidden(config), config)


class SlamProjector(nnx.Module):
  """linear_1, ReLU, linear_2, with biases: in_dim -> hidden_dim (2048) -> out_dim.

  Source: `EncoderProjectorConcat` of SLAM-LLM (Ma et al. 2024, arXiv:2402.08846), which stacks 5
  frames.
  """

  def __init__(self, config: ProjectorConfig, *, rngs: nnx.Rngs) -> None:
    dtypes: dict[str, Any] = {"dtype": config.dtype, "weight_dtype": config.weight_dtype}
    hidden = self.hidden(config)
    self.linear_1 = linear(config.in_dim, hidden, ("embed", "mlp"), rngs=rngs, **dtypes)
    self.linear_2 = linear(hidden, config.out_dim, ("mlp", "embed"), rngs=rngs, **dtypes)

  def __call__(self, x: Float[Array, "*N in_dim"]) -> Float[Array, "*N out_dim"]:
    """Projects every token alone."""
    return self.linear_2(jax.nn.relu(self.linear_1(x)))

  @staticmethod
  def hidden(config: ProjectorConfig) -> int:
    """Width between the linear layers."""
    return config.hidden_dim or 2048

  @classmethod
  def flops_per_token(cls, config: ProjectorConfig) -> int:
    """FLOPs of the matrix products of a forward pass over one token."""
    return _flops(cls.hidden(config), config)


class NormedMLPProjector(nnx.Module):
  """linear_1, RMSNorm, GELU, linear_2, RMSNorm, without biases: in_dim -> hidden_dim -> out_dim.

  `hidden_dim` is out_dim unless given. The norms begin with a scale of 1, so a new projector's
  tokens have a root mean square of 1. Projectors that begin at the scale of the language model's
  embeddings instead (0.03 in Qwen3-0.6B) spend their first steps on getting back to 1.

  Source: `MLPAudioProjector` of tiny-audio, which stacks 4 frames.
  """

  def __init__(self, config: ProjectorConfig, *, rngs: nnx.Rngs) -> None:
    dtypes: dict[str, Any] = {"dtype": config.dtype, "weight_dtype": config.weight_dtype}
    plain = {**dtypes, "use_bias": False, "rngs": rngs}
    norms: dict[str, Any] = {"out_dtype": config.dtype, "weight_dtype": config.weight_dtype}
    hidden = self.hidden(config)
    self.linear_1 = linear(config.in_dim, hidden, ("embed", "mlp"), **plain)
    self.norm_1 = RMSNorm(hidden, rngs=rngs, **norms)
    self.linear_2 = linear(hidden, config.out_dim, ("mlp", "embed"), **plain)
    self.norm_2 = RMSNorm(config.out_dim, rngs=rngs, **norms)

  def __call__(self, x: Float[Array, "*N in_dim"]) -> Float[Array, "*N out_dim"]:
    """Projects every token alone; one of zeros stays zeros."""
    return self.norm_2(self.linear_2(gelu(self.norm_1(self.linear_1(x)))))

  @staticmethod
  def hidden(config: ProjectorConfig) -> int:
    """Width between the linear layers."""
    return config.hidden_dim or config.out_dim

  @classmethod
  def flops_per_token(cls, config: ProjectorConfig) -> int:
    """FLOPs of the matrix products of a forward pass over one token."""
    return _flops(cls.hidden(config), config)


PROJECTORS: dict[str, Any] = {
  "mlp": MLPProjector,
  "slam": SlamProjector,
  "normed_mlp": NormedMLPProjector,
}


def find_projector(name: str) -> Any:
  """Returns the class of a projector.

  Raises:
    ValueError: there is none of that name.
  """
  if name not in PROJECTORS:
    raise ValueError(f"projector={name}, expected one of {', '.join(PROJECTORS)}")
  return PROJECTORS[name]
