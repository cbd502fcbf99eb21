"""Optimizer of a run: MaxText's, each parameter group at its own learning rate."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from maxtext_ext import bridge
from maxtext_ext.models.make import groups_of, model_class
from maxtext_ext.models.parameter_groups import group_of
from maxtext_ext.models.parts import learning_rates


def make_optimizer(
  config: bridge.Config, mesh: Mesh
) -> tuple[Callable[[int], jax.Array], optax.GradientTransformation]:
  """Makes the optimizer of the configuration.

  The updates of MaxText's optimizers are proportional to the learning rate, so a group's are those
  of the fastest group times the ratio of their rates; the optimizer's state is that of one rate.
  With `learning_rate_devices` all rates grow with the devices, as the batch does (Goyal et al.
  2017, arXiv:1706.02677).

  Returns:
    the schedule of the group with the highest rate, and the optimizer.
  """
  scale = mesh.size / config.learning_rate_devices if config.learning_rate_devices else 1.0
  rates = {g: rate * scale for g, rate in learning_rates(config, groups_of(config)).items()}
  highest = max(rates.values())
  schedule, tx = bridge.make_optimizer(bridge.replace(config, learning_rate=highest), mesh)
  if len(set(rates.values())) == 1:
    return schedule, tx
  factors = {group: rate / highest for group, rate in rates.items()}
  return schedule, _scaled(tx, factors, model_class(config).GROUPS)


def _scaled(
  tx: optax.GradientTransformation, factors: dict[str, float], roots: Mapping[str, str]
) -> optax.GradientTransformation:
  """Multiplies the updates of each group that `tx` makes."""
  tx = optax.with_extra_args_support(tx)

  def update(grads: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
    updates, state = tx.update(grads, state, params, **extra)
    scaled = jax.tree_util.tree_map_with_path(
      lambda path, x: x * factors[group_of(_names(path), roots)], updates
    )
    return scaled, state

  return optax.GradientTransformationExtraArgs(tx.init, update)


def _names(path: Iterable[Any]) -> list[str]:
  return jax.tree_util.keystr(tuple(path), simple=True, separator="/").split("/")
