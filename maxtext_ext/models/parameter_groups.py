"""Which parts of a model train, and how fast: `train_parts`.

A part that is not named is frozen: it is no argument of the gradient, has no optimizer state and
no weight decay.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import optax
from flax import nnx
from jax.sharding import Mesh

from maxtext_ext import bridge
from maxtext_ext.keys.parts import ADAPTERS, ROUTER, rates
from maxtext_ext.models.lora import LORA_A, LORA_B

# The part that a parameter belongs to by the first name of its path, unless it is an adapter or
# routes tokens to experts.
ROOTS = {
  "speech_encoder": "encoder",
  "projector": "projector",
  "token_embedder": "lm",
  "decoder": "lm",
}


def part_of(path: Sequence[Any]) -> str:
  """The part of `keys.parts.PARTS` that a parameter belongs to, by its path in the model."""
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
