"""Parameter groups: which parameters of a model train, and how fast (`train_parts`).

A group that is not named is frozen: it is no argument of the gradient, has no optimizer state and
no weight decay.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from flax import nnx

from maxtext_ext.models.batch_norm import RunningStatistic
from maxtext_ext.models.lora import LORA_A, LORA_B
from maxtext_ext.models.make import groups_of, model_class
from maxtext_ext.models.parts import ADAPTERS, ROUTER, learning_rates

FIXED = "fixed"  # a group that never trains
_FIXED_TABLES = ("embed_positions",)  # Whisper's sinusoids, which its own training kept too


def group_of(path: Sequence[Any], roots: Mapping[str, str]) -> str:
  """Returns the group of a parameter, by its path in the model.

  Args:
    roots: `GROUPS` of the model: the group by the first name of the path. It counts unless the
      parameter is an adapter, routes tokens to experts, or is a table that never trains.
  """
  names = [str(name) for name in path]
  if names[-1] in _FIXED_TABLES:
    return FIXED
  if names[-1].endswith((LORA_A, LORA_B)):
    return ADAPTERS
  if "moe_block" in names and "gate" in names:
    return ROUTER
  return roots[names[0]]


@dataclass(frozen=True)
class InGroups:
  """An nnx filter: the parameters of some groups. Equal ones are equal, as a jitted step needs."""

  groups: frozenset[str]
  roots: tuple[tuple[str, str], ...]

  @classmethod
  def of(cls, config: Any, groups: Iterable[str]) -> Self:
    """Makes the filter for the model of a configuration."""
    return cls(frozenset(groups), tuple(model_class(config).GROUPS.items()))

  def __call__(self, path: Sequence[Any], variable: Any) -> bool:
    """Returns whether the variable at `path` of a model is a parameter of these groups."""
    if not isinstance(variable, nnx.Param) or isinstance(variable, RunningStatistic):
      return False
    return group_of(path, dict(self.roots)) in self.groups


def trainable(config: Any) -> InGroups:
  """Returns the filter of what is trained."""
  return InGroups.of(config, learning_rates(config, groups_of(config)))
