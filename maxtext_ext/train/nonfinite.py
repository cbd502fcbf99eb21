"""Guard against losses and gradients that are not finite: such steps are skipped."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

LIMIT = 5  # steps in a row
_NAMED = 40  # records named of each batch; more would hide the error


def is_usable(loss: Float[Array, ""], gradient_norm: Float[Array, ""]) -> Bool[Array, ""]:
  """Returns whether both are finite, so that a step may be taken."""
  return jnp.isfinite(loss) & jnp.isfinite(gradient_norm)


def update_if(usable: Bool[Array, ""], new: Any, old: Any) -> Any:
  """Returns the state after a step, or the one before it, bit for bit.

  The choice is known before the update is computed, so XLA makes it element by element within the
  update, and both states never exist at once.
  """
  return jax.tree.map(lambda after, before: jnp.where(usable, after, before), new, old)


class NonFiniteGuard:
  """Counter of skipped steps, which stops a run that only skips."""

  def __init__(self) -> None:
    self._records: list[Sequence[str]] = []

  def note(self, step: int, *, usable: bool, records: Sequence[str]) -> None:
    """Notes whether a step was taken.

    Args:
      step: steps completed with it.
      usable: whether it was taken.
      records: ids of the records in this host's part of its batch.

    Raises:
      ValueError: it is the last of `LIMIT` that were not, in a row.
    """
    if usable:
      self._records.clear()
      return
    self._records.append(records)
    if len(self._records) < LIMIT:
      return
    batches = (
      f"step {number}: {_name(ids)}"
      for number, ids in enumerate(self._records, step - len(self._records) + 1)
    )
    raise ValueError(
      f"the loss or its gradient was not finite in {LIMIT} steps in a row, the last of them {step};"
      " none of them changed the weights. Look at their records, or lower learning_rate and start"
      f" again. The records: {'; '.join(batches)}"
    )


def _name(ids: Sequence[str]) -> str:
  more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
  return f"{', '.join(ids[:_NAMED])}{more}"
