"""Keys of a run: length, changes on resuming, out-of-memory handling, verbosity."""

from typing import Literal, Self

import pydantic
from pydantic import Field

from maxtext_ext.run_identity import CHANGEABLE
from maxtext_ext.subconfig import SubConfig


class RunKeys(SubConfig, title="Run"):
  """Length of a run, and what happens when it resumes or runs out of memory."""

  epochs: float = Field(
    0.0, ge=0, description="Passes over the data; 0, or where steps is set later: use steps."
  )
  accept_changes: list[str] = Field(
    [],
    description="Keys of the run's fingerprint that may change when it resumes.",
  )
  on_oom: Literal["fail", "shrink"] = Field(
    "shrink", description="Out of memory: split the same batches into smaller pieces, or fail."
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
