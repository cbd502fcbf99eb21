"""Keys of a run: length, changes on resuming, out-of-memory handling, verbosity."""

from typing import Literal, Self

import pydantic
from pydantic import Field

from maxtext_ext.run_identity import CHANGEABLE
from maxtext_ext.subconfig import SubConfig


class RunKeys(SubConfig, title="Run"):
  """Length of a run, and what happens when it resumes or runs out of memory."""

  epochs: float = Field(
    0.0, ge=0, description="Passes over the data; 0, or steps given after it: so many steps."
  )
  accept_changes: list[str] = Field(
    [],
    description="Of the keys that make a run what it is, those that may change when it goes on.",
  )
  on_oom: Literal["fail", "shrink"] = Field(
    "shrink", description="Out of memory: go on with the same batches in smaller pieces, or fail."
  )
  verbose: bool = Field(False, description="Show MaxText's and Orbax's information lines.")

  @pydantic.model_validator(mode="after")
  def _check_changes(self) -> Self:
    if unknown := sorted(set(self.accept_changes) - set(CHANGEABLE)):
      raise ValueError(
        f"accept_changes: {', '.join(unknown)} cannot change within a run; those that can are"
        f" {', '.join(CHANGEABLE)}"
      )
    return self
