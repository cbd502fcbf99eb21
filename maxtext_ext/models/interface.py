"""The interface between a model and training: batches, loss sums, and what a model declares."""

from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import jax
import jax.numpy as jnp

Batch = dict[str, jax.Array]


@dataclass(frozen=True)
class Sums:
  """Sums over the targets of a batch, which add up over micro-batches as means would not.

  Attributes:
    nats: the loss of the targets.
    targets: their number.
    extra: further sums of the model, by the names in its `EXTRA_SUMS`.
  """

  nats: jax.Array
  targets: jax.Array
  extra: dict[str, jax.Array] = field(default_factory=dict)

  @classmethod
  def zeros(cls, extra: tuple[str, ...]) -> "Sums":
    """Returns the sums of no rows."""
    return cls(jnp.zeros(()), jnp.zeros(()), {name: jnp.zeros(()) for name in extra})


jax.tree_util.register_dataclass(Sums)


class SpeechModel(Protocol):
  """Interface of models to training, input and decoding; an `nnx.Module`.

  A batch's loss is a mean over all its target tokens, wherever micro-batches cut it. So a model
  counts first (`count`), sums over each micro-batch (`sums`), and divides the sums by the counts
  (`objective`, `metrics`).

  Attributes:
    LAYOUT: how its batches are laid out, a key of `input.LAYOUTS`.
    ENGINE: what decodes it, a key of `decode.ENGINES`.
    GROUPS: the parameter group, as `train_parts` names it, of each root of the parameters' paths.
    EXTRA_SUMS: names in `Sums.extra`.
  """

  LAYOUT: ClassVar[str]
  ENGINE: ClassVar[str]
  GROUPS: ClassVar[dict[str, str]]
  EXTRA_SUMS: ClassVar[tuple[str, ...]]

  def count(self, batch: Batch) -> dict[str, jax.Array]:
    """Counts what the sums of a batch are divided by, each at least 1."""
    ...

  def sums(self, batch: Batch, key: jax.Array | None) -> Sums:
    """Sums the losses over a batch.

    Args:
      key: of what is random in training; None: nothing is, as in evaluation.
    """
    ...

  def objective(self, sums: Sums, counts: dict[str, jax.Array]) -> jax.Array:
    """Returns the part that sums over some rows have in what training minimises."""
    ...

  def metrics(self, sums: Sums, counts: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Returns what is logged of a step: `loss` (nats a target), `target_tokens`, and more."""
    ...
