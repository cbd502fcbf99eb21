"""Learning rates of the parameter groups of a model: the key `train_parts`, read without JAX."""

import math
from collections.abc import Iterable
from typing import Any

from pydantic import Field

from maxtext_ext.subconfig import Size, SubConfig

ADAPTERS, ROUTER = "adapters", "router"  # the groups of any model; others are the model's own


class PartKeys(SubConfig, title="What trains"):
  """Learning rates for each part of the model."""

  train_parts: dict[str, float] = Field(
    {},
    description=(
      "Learning rates of the parts that train (encoder, projector, lm, router, adapters); 0:"
      " frozen, as those not named. Empty: everything, or with lora_rank the adapters, at"
      " learning_rate."
    ),
  )
  learning_rate_devices: Size = Field(
    0,
    description=(
      "Devices that the learning rates are meant for: on others they are scaled by the number of"
      " devices, as the batch is. 0: they are taken as given."
    ),
  )
  router_aux_loss_coef: float = Field(
    0.0, ge=0, description="Weight of the loss that keeps all experts in use, if the router trains."
  )


def trains(group: str, config: Any) -> bool:
  """Returns whether a parameter group trains."""
  if config.train_parts:
    return config.train_parts.get(group, 0.0) > 0
  return (group == ADAPTERS) == bool(config.lora_rank)


def learning_rates(config: Any, groups: Iterable[str]) -> dict[str, float]:
  """Returns the peak learning rate of each of the groups that trains."""
  return {
    group: config.train_parts.get(group, config.learning_rate)
    for group in groups
    if trains(group, config)
  }


def check(train_parts: dict[str, float], *, lora_rank: int, num_experts: int) -> None:
  """Raises ValueError when these rates fit no model; `make.check_model_keys` checks the names."""
  wrong = {p: rate for p, rate in train_parts.items() if not 0 <= rate < math.inf}
  if wrong or (train_parts and not any(train_parts.values())):
    raise ValueError(f"train_parts={wrong or train_parts}: expected a learning rate above 0")
  training = [group for group, rate in train_parts.items() if rate > 0]
  if ADAPTERS in training and not lora_rank:
    raise ValueError("train_parts names adapters, and there are none: give lora_rank, such as 16")
  if train_parts and lora_rank and ADAPTERS not in training:
    raise ValueError(
      f"lora_rank={lora_rank} makes adapters that train_parts does not name, so they would never"
      " move: add adapters to train_parts, or give lora_rank=0"
    )
  if ROUTER in training and num_experts <= 1:
    raise ValueError("train_parts names router, and a model without experts has none")
