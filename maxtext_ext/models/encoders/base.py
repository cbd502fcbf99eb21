"""EncoderConfig: what every speech encoder says about itself before its weights are made."""

import abc
import json
from typing import Any, ClassVar, Self

import jax.numpy as jnp
import pydantic
from pydantic import Field

from maxtext_ext.audio.geometry import Geometry


class EncoderConfig(pydantic.BaseModel, abc.ABC):
  """Shape and arithmetic of an encoder.

  An encoder declares its own fields in a subclass, which are the keys of the yml's `encoder`
  mapping; those of `RUN_KEYS` follow from other keys of the run.

  Attributes:
    layers: equal layers, one after the other; 0: none. A plan counts the cost of one of them.
    dtype: of activations.
    weight_dtype: of parameters.
    remat: recompute activations in the backward pass.
    unroll: no loop over the layers, whose program then grows with their number.
    ONE_CLIP_A_ROW: it takes a whole row as one clip, so its model's layout must be bucketed.
    TAKES_KEY: whether the encoder takes the keyword `key`, of what is random in training, such as
      dropout; with None nothing is.
  """

  model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
  TAKES_KEY: ClassVar[bool] = False
  RUN_KEYS: ClassVar[tuple[str, ...]] = ("dtype", "weight_dtype", "remat", "unroll")
  ONE_CLIP_A_ROW: ClassVar[bool] = False

  num_mel_bins: int = Field(80, ge=1)
  layers: int = Field(0, ge=0)
  dtype: Any = jnp.float32
  weight_dtype: Any = jnp.float32
  remat: bool = False
  unroll: bool = False

  @classmethod
  def from_keys(cls, config: Any) -> Self:
    """Reads the configuration of a run.

    Raises:
      ValueError: `encoder` lacks a key, or has one that is unknown or out of range.
    """
    if run := set(config.encoder) & set(cls.RUN_KEYS):
      raise ValueError(
        f"encoder.{min(run)} follows from the run's dtype, weight_dtype, remat_policy and"
        " scan_layers: give those instead"
      )
    return cls.checked({**config.encoder, **cls.run_values(config)}, "encoder.")

  @classmethod
  def run_values(cls, config: Any) -> dict[str, Any]:
    """Values of `RUN_KEYS` in the configuration of a run."""
    return {
      "dtype": config.dtype,
      "weight_dtype": config.weight_dtype,
      "remat": config.remat_policy != "none",
      "unroll": not config.scan_layers,
    }

  @classmethod
  def checked(cls, values: dict[str, Any], prefix: str = "") -> Self:
    """Builds the config; raises ValueError with the first fault on one line."""
    try:
      return cls(**values)
    except pydantic.ValidationError as error:
      fault = error.errors()[0]
      key = ".".join(str(part) for part in fault["loc"])
      said = fault["msg"].removeprefix("Value error, ")
      got = f" (got {fault['input']!r})" if fault["type"] != "missing" else ""
      known = ", ".join(name for name in cls.model_fields if name not in cls.RUN_KEYS)
      if not key:  # several fields do not fit together
        raise ValueError(said) from error
      raise ValueError(f"{prefix}{key}: {said}{got}; the keys are {known}") from error

  def layer_overrides(self, layers: int) -> list[str]:
    """`key=value` overrides of a run that give the encoder another number of layers."""
    own = self.model_dump(exclude=set(self.RUN_KEYS)) | {"layers": layers}
    return [f"encoder={json.dumps(own)}"]

  @property
  @abc.abstractmethod
  def geometry(self) -> Geometry:
    """Returns the encoder's division of a clip's time."""

  @property
  @abc.abstractmethod
  def out_dim(self) -> int:
    """Width of the audio tokens; times their number the values between two layers."""

  @abc.abstractmethod
  def flops_per_window(self) -> float:
    """FLOPs of the matrix products of a forward pass over one window."""

  def flops_per_row(self, windows: int) -> float:
    """FLOPs of a forward pass over a row of so many windows."""
    return windows * self.flops_per_window()

  @property
  def widest_values_per_window(self) -> int:
    """Values in the largest array that is made of a window before the layers."""
    return 0
