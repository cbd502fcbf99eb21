"""Ranges of the augmentation of the waveform; `audio.perturb` applies them."""

import math
from typing import Self

import pydantic
from pydantic import Field

from maxtext_ext.audio.limits import MAX_SECONDS
from maxtext_ext.subconfig import SubConfig

Range = tuple[float, float]

_LIMITS = {
  "speed_range": (0.5, 1.5),  # beyond, it is hardly speech
  "gain_db": (-60.0, 60.0),
  "noise_snr_db": (-40.0, 100.0),
}


class SoundChanges(SubConfig):
  """Changes of a clip's sound; draws are uniform in [low, high]."""

  speed_range: Range = Field(
    (1.0, 1.0),
    description="Factors of speed, such as [0.9, 1.1]; tempo and pitch change together.",
  )
  gain_db: Range = Field((0.0, 0.0), description="Range of the gain in dB, such as [-6, 6].")
  noise_snr_db: Range = Field((5.0, 30.0), description="Range of the signal-to-noise ratio, dB.")
  noise_probability: float = Field(0.0, ge=0, le=1, description="Probability of added noise.")
  rir_probability: float = Field(0.0, ge=0, le=1, description="Probability of room reverberation.")

  @pydantic.model_validator(mode="after")
  def _check_ranges(self) -> Self:
    for name, (least, most) in _LIMITS.items():
      low, high = getattr(self, name)
      if not least <= low <= high <= most:
        raise ValueError(
          f"{name}=[{low:g}, {high:g}], expected {least:g} <= low <= high <= {most:g}"
        )
    return self


class Perturbation(SoundChanges):
  """Changes of a clip's sound, with the files that they need.

  Attributes:
    noises: files of noise.
    rirs: files of room impulse responses.
    max_seconds: no clip is slowed down beyond this length.
  """

  noises: tuple[str, ...] = ()
  rirs: tuple[str, ...] = ()
  max_seconds: float = Field(MAX_SECONDS, gt=0, lt=math.inf)

  @pydantic.model_validator(mode="after")
  def _check_files(self) -> Self:
    require_sounds("noise_probability", self.noise_probability, self.noises, "noise_dir")
    require_sounds("rir_probability", self.rir_probability, self.rirs, "rir_dir")
    return self

  @property
  def on(self) -> bool:
    """Returns whether any clip is ever changed."""
    ranges = self.speed_range != (1.0, 1.0) or self.gain_db != (0.0, 0.0)
    return ranges or self.noise_probability > 0 or self.rir_probability > 0


def require_sounds(name: str, probability: float, sounds: str | tuple[str, ...], key: str) -> None:
  """Raises ValueError for a probability above 0 where there are no sounds to draw from."""
  if probability and not sounds:
    raise ValueError(f"{name}={probability:g} without files; give {key}, or set it to 0")
