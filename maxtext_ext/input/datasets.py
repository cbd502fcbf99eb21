"""Datasets of a run: one folder, or a mixture of several with its proportions."""

from collections.abc import Sequence
from typing import Self

import pydantic
from pydantic import Field

from maxtext_ext.subconfig import SubConfig

_PRECISION = 10**6  # proportions are rounded to one part in so many


class NamedData(SubConfig):
  """Dataset of `mixture`."""

  name: str = Field(description="By which its epochs and dropped records are counted.")
  data_dir: str = Field(description="Folder of {split}-*.array_record files.")
  split: str = Field("", description="The split to train on; default: train_split.")
  weight: float = Field(1.0, gt=0, description="How much more often than its length tells.")

  @pydantic.model_validator(mode="after")
  def _check_named(self) -> Self:
    if not self.name or not self.data_dir:
      raise ValueError("every dataset needs a name and a data_dir")
    return self


class Datasets(SubConfig, title="Datasets"):
  """Folders of the records: `data_dir`, or for training those of `mixture`."""

  data_dir: str = Field(
    "",
    description=(
      "Folder of {split}-*.array_record files; with a mixture, of those of evaluation and"
      " decoding, which else read all folders of the mixture."
    ),
  )
  mixture: list[NamedData] = Field(
    [], description="Datasets to train on instead of data_dir: name, data_dir, split, weight."
  )
  mixture_temperature: float = Field(
    1.0,
    gt=0,
    description="Weight of n records: weight * n^(1/temperature); high: all datasets alike.",
  )

  @pydantic.model_validator(mode="after")
  def _check_names(self) -> Self:
    names = [data.name for data in self.mixture]
    if twice := sorted({name for name in names if names.count(name) > 1}):
      raise ValueError(
        f"mixture: {', '.join(twice)} is there twice; give each dataset its own name"
      )
    return self

  def proportions(self, lengths: Sequence[int]) -> tuple[int, ...]:
    """Returns integer proportions in which datasets of these lengths are read."""
    weights = [data.weight for data in self.mixture] or [1.0]
    return tuple(
      max(1, round(_PRECISION * weight * length ** (1 / self.mixture_temperature)))
      for weight, length in zip(weights, lengths, strict=True)
    )
