"""The optimizer of a run: MaxText's, each parameter group at its own learning rate."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from maxtext_ext import bridge
from maxtext_ext.models.parameter_groups import part_of
from maxtext_ext.models.parts import rates


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
