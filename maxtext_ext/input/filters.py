"""Filters of records by length, by text, and by characters per second."""

import math
from typing import Self

import pydantic
from pydantic import Field

from maxtext_ext.input.drops import Drop
from maxtext_ext.subconfig import Size, SubConfig

_MEASURES = ("seconds", "characters", "characters_per_second")


class Filters(SubConfig, title="Filters"):
  """Limits of records; those outside are left out and counted, the limits are inclusive.

  Characters are those of the transcript without white space around it. Very many or very
  few per second mostly mean the transcript of another clip. Decoding takes every record that can be
  read.
  """

  min_seconds: float = Field(0.0, ge=0, description="Shorter clips are dropped and counted.")
  max_seconds: float = Field(30.0, gt=0, description="Longer clips are dropped and counted.")
  min_characters: Size = Field(0, description="Shorter texts are dropped and counted.")
  max_characters: Size = Field(0, description="Longer texts are dropped; 0: none.")
  min_characters_per_second: float = Field(0.0, ge=0, description="Sparser texts are dropped.")
  max_characters_per_second: float = Field(
    0.0, ge=0, description="Denser texts are dropped; 0: none."
  )
  max_bad_fraction: float = Field(
    0.01, ge=0, le=1, description="More unusable records than this among those read are an error."
  )

  @pydantic.model_validator(mode="after")
  def _check_limits(self) -> Self:
    for measure in _MEASURES:
      low, high = self._limits(measure)
      if not low < high:
        shown = getattr(self, f"max_{measure}")
        raise ValueError(
          f"min_{measure}={low:g} and max_{measure}={shown:g}: expected "
          f"0 <= min_{measure} < max_{measure}"
        )
    return self

  def reject(self, sample_id: str, seconds: float, text: str) -> Drop | None:
    """Returns the reason why a record is left out; None: it is not."""
    characters = len(text.strip())
    rate = characters / seconds if seconds else math.inf
    for measure, value in zip(_MEASURES, (seconds, characters, rate), strict=True):
      low, high = self._limits(measure)
      if not low <= value <= high:
        name = f"{'min' if value < low else 'max'}_{measure}"
        unit = measure.replace("_", " ")
        detail = f"{sample_id}: {value:.4g} {unit}, outside {name}={getattr(self, name):g}"
        return Drop(f"outside {name}", detail)
    return None

  def _limits(self, measure: str) -> tuple[float, float]:
    high = getattr(self, f"max_{measure}") or math.inf
    return float(getattr(self, f"min_{measure}")), float(high)
