"""Names of the parts of a model that train, and their learning rates: the key `train_parts`."""

import math
from typing import Any

ADAPTERS, ROUTER = "adapters", "router"
PARTS = ("encoder", "projector", "lm", ROUTER, ADAPTERS)


def rates(config: Any) -> dict[str, float]:
  """The highest learning rate of every part that trains, of a run's keys."""
  if config.train_parts:
    return {part: rate for part, rate in config.train_parts.items() if rate > 0}
  parts = [ADAPTERS] if config.lora_rank else [part for part in PARTS if part != ADAPTERS]
  return dict.fromkeys(parts, config.learning_rate)


def check(train_parts: dict[str, float], *, lora_rank: int, num_experts: int) -> None:
  """Raises ValueError when these parts of such a model cannot be trained."""
  if unknown := [part for part in train_parts if part not in PARTS]:
    raise ValueError(
      f"train_parts: {', '.join(unknown)} is no part, expected some of {', '.join(PARTS)}"
    )
  wrong = {p: rate for p, rate in train_parts.items() if not 0 <= rate < math.inf}
  if wrong or (train_parts and not any(train_parts.values())):
    raise ValueError(f"train_parts={wrong or train_parts}: expected a learning rate above 0")
  trains = [part for part, rate in train_parts.items() if rate > 0]
  if ADAPTERS in trains and not lora_rank:
    raise ValueError("train_parts names adapters, and there are none: give lora_rank, such as 16")
  if train_parts and lora_rank and ADAPTERS not in trains:
    raise ValueError(
      f"lora_rank={lora_rank} makes adapters that train_parts does not name, so they would never"
      " move: add adapters to train_parts, or give lora_rank=0"
    )
  if ROUTER in trains and num_experts <= 1:
    raise ValueError("train_parts names router, and a model without experts has none")
