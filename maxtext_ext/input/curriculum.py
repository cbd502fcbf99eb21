"""Curriculum: short texts first."""

import itertools
import math
from typing import Self

import pydantic
from pydantic import Field

from maxtext_ext.subconfig import SubConfig


class Curriculum(SubConfig, title="Curriculum"):
  """Stages of training with short texts only; none by default."""

  curriculum: list[tuple[float, int]] = Field(
    [], description="[until this fraction of the steps, only texts of at most so many words]."
  )

  @pydantic.model_validator(mode="after")
  def _check_stages(self) -> Self:
    stages = self.curriculum
    ascending = all(a[0] < b[0] and a[1] <= b[1] for a, b in itertools.pairwise(stages))
    if not ascending or any(not 0 < until <= 1 or words < 1 for until, words in stages):
      raise ValueError(
        f"curriculum={stages}: expected pairs (fraction of steps in 0..1, most words), "
        "both ascending"
      )
    return self

  def max_words(self, step: int, steps: int) -> int | None:
    """Returns the most words of a text in the batch of this step (from 0); None: any number."""
    for until, words in self.curriculum:
      if step < math.floor(until * steps):
        return words
    return None
