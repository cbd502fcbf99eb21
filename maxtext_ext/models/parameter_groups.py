"""Which parts of a model train, and how fast: `train_parts`.

A part that is not named is frozen: it is no argument of the gradient, has no optimizer state and
no weight decay.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flax import nnx

from maxtext_ext.models.lora import LORA_A, LORA_B
from maxtext_ext.models.parts import ADAPTERS, ROUTER, rates

# The part that a parameter belongs to by the first name of its path, unless it is an adapter or
# routes tokens to experts.
ROOTS = {
  "speech_encoder": "encoder",
  "projector": "projector",
  "token_embedder": "lm",
  "decoder": "lm",
}


def part_of(path: Sequence[Any]) -> str:
  """The part of `models.parts.PARTS` that a parameter belongs to, by its path in the model."""
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


def trained(config: Any) -> InParts:
  """The filter of what is trained."""
  return InParts(frozenset(rates(config)))
