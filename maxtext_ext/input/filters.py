"""Which records suit a run: by length, by text, and by how fast the text would have to be said."""

import math
from dataclasses import dataclass

from maxtext_ext.input.drops import Drop
from maxtext_ext.records.schema import Record

_MEASURES = ("seconds", "characters", "characters_per_second")


@dataclass(frozen=True, kw_only=True)
class Filters:
  """Records outside the limits are left out; a limit itself is inside.

  A maximum of characters, or of characters a second, of 0 is no limit.

  Characters are those of the transcript without white space around it. Many a second, or very few,
  are mostly a transcript that is not of this clip.
  """

  min_seconds: float = 0.0
  max_seconds: float = 30.0
  min_characters: int = 0
  max_characters: int = 0
  min_characters_per_second: float = 0.0
  max_characters_per_second: float = 0.0

  def __post_init__(self) -> None:
    if not self.max_seconds > 0:
      raise ValueError(f"max_seconds={self.max_seconds}: expected more than 0")
    for measure in _MEASURES:
      low, high = self._limits(measure)
      if not 0 <= low < high:
        shown = getattr(self, f"max_{measure}")
        raise ValueError(
          f"min_{measure}={low:g} and max_{measure}={shown:g}: expected "
          f"0 <= min_{measure} < max_{measure}"
        )

  def reject(self, record: Record) -> Drop | None:
    """Why a record is left out; None: it is not."""
    seconds, characters = record.seconds, len(record.text.strip())
    rate = characters / seconds if seconds else math.inf
    for measure, value in zip(_MEASURES, (seconds, characters, rate), strict=True):
      low, high = self._limits(measure)
      if not low <= value <= high:
        name = f"{'min' if value < low else 'max'}_{measure}"
        unit = measure.replace("_", " ")
        detail = f"{record.sample_id}: {value:.4g} {unit}, outside {name}={getattr(self, name):g}"
        return Drop(f"outside {name}", detail)
    return None

  def _limits(self, measure: str) -> tuple[float, float]:
    high = getattr(self, f"max_{measure}") or math.inf
    return float(getattr(self, f"min_{measure}")), float(high)
