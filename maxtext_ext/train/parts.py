"""Which parts of a model train, and how fast: `train_parts`.

A part that is not named is frozen: it is no argument of the gradient, has no optimizer state and
no weight decay.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import optax
from flax import nnx
from jax.sharding import Mesh

from maxtext_ext import bridge
from maxtext_ext.models.lora import LORA_A, LORA_B

ADAPTERS, ROUTER = "adapters", "router"
# The part that a parameter belongs to by the first name of its path, unless it is an adapter or
# routes tokens to experts.
ROOTS = {
  "speech_encoder": "encoder",
  "projector": "projector",
  "token_embedder": "lm",
  "decoder": "lm",
}
PARTS = (*dict.fromkeys(ROOTS.values()), ROUTER, ADAPTERS)


def part_of(path: Sequence[Any]) -> str:
  """The part of PARTS that a parameter belongs to, by its path in the model."""
  names = [str(name) for name in path]
  if names[-1].endswith((LORA_A, LORA_B)):
    return ADAPTERS
  if "moe_block" in names and "gate" in names:
    return ROUTER
  return ROOTS[names[0]]


@dataclass(frozen=True)
class InParts:
  """An nnx filter: the parameters of some parts. Equal ones are equal, as a jitted step needs."""

  parts: frozenset[str]

  def __call__(self, path: Sequence[Any], variable: Any) -> bool:
    """Whether the variable at `path` of a model is a parameter of these parts."""
    return isinstance(variable, nnx.Param) and part_of(path) in self.parts


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


def trained(config: bridge.Config) -> InParts:
  """The filter of what is trained."""
  return InParts(frozenset(rates(config)))


def make_optimizer(
  config: bridge.Config, mesh: Mesh
) -> tuple[Callable[[int], jax.Array], optax.GradientTransformation]:
  """The optimizer of the configuration, each part at its own rate.

  The updates of MaxText's optimizers are proportional to the learning rate, so a part's are those
  of the fastest part times the ratio of their rates; the optimizer's state is that of one rate.

  Returns:
    the schedule of the part with the highest rate, and the optimizer.
  """
  by_part = rates(config)
  highest = max(by_part.values())
  schedule, tx = bridge.make_optimizer(bridge.replace(config, learning_rate=highest), mesh)
  if len(set(by_part.values())) == 1:
    return schedule, tx
  return schedule, _scaled(tx, {part: rate / highest for part, rate in by_part.items()})


def _scaled(
  tx: optax.GradientTransformation, factors: dict[str, float]
) -> optax.GradientTransformation:
  """`tx` with the updates of each part multiplied."""
  tx = optax.with_extra_args_support(tx)

  def update(grads: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
    updates, state = tx.update(grads, state, params, **extra)
    scaled = jax.tree_util.tree_map_with_path(
      lambda path, x: x * factors[part_of(_names(path))], updates
    )
    return scaled, state

  return optax.GradientTransformationExtraArgs(tx.init, update)


def _names(path: Iterable[Any]) -> list[str]:
  return jax.tree_util.keystr(tuple(path), simple=True, separator="/").split("/")
