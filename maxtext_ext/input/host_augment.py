"""Augmentation that the host draws: speed, rooms, noise, noise alone, and SpecAugment's masks."""

from typing import Self

import pydantic
from pydantic import Field

from maxtext_ext.audio.perturbation import Perturbation, Range, SoundChanges, require_sounds
from maxtext_ext.subconfig import Size, SubConfig

SPAN = 800  # frames, 8 s, in each of which SpecAugment masks some


class HostAugment(SoundChanges, title="Augmentation of the sound"):
  """Changes of training clips, drawn again in every epoch."""

  noise_dir: str = Field("", description="Local folder of sounds without speech.")
  rir_dir: str = Field("", description="Local folder of room impulse responses.")

  @pydantic.model_validator(mode="after")
  def _check_folders(self) -> Self:
    # They are looked into when training begins; evaluation and decoding go without them.
    require_sounds("noise_probability", self.noise_probability, self.noise_dir, "noise_dir")
    require_sounds("rir_probability", self.rir_probability, self.rir_dir, "rir_dir")
    return self

  def perturbation(self, max_seconds: float) -> Perturbation:
    """Returns the changes with the files that the folders hold.

    Raises:
      ValueError: a folder that is needed holds none.
    """
    from maxtext_ext.audio.sounds import find_sounds  # keys are read without libraries of sound

    return Perturbation(
      **{name: getattr(self, name) for name in SoundChanges.model_fields},
      noises=find_sounds(self.noise_dir) if self.noise_probability else (),
      rirs=find_sounds(self.rir_dir) if self.rir_probability else (),
      max_seconds=max_seconds,
    )


class NoiseOnly(SubConfig, title="Noise alone"):
  """Clips of noise with an empty text, so that the model learns to answer silence with nothing."""

  noise_only_rate: float = Field(
    0.0, ge=0, lt=1, description="Share of clips that are noise alone, to be answered with nothing."
  )
  noise_only_seconds: Range = Field((1.0, 10.0), description="Lengths of those clips.")

  @pydantic.model_validator(mode="after")
  def _check_lengths(self) -> Self:
    low, high = self.noise_only_seconds
    if not 0 < low <= high:
      raise ValueError(f"noise_only_seconds=[{low:g}, {high:g}], expected 0 < low <= high")
    return self


class SpecAugment(SubConfig, title="SpecAugment"):
  """One masked band of mel bins per clip, and one masked span of frames per window."""

  spec_augment_mels: Size = Field(0, description="Widest masked band of mel bins; 0: off.")
  spec_augment_frames: Size = Field(0, description="Widest masked span, 10 ms; 0: off.")

  @property
  def on(self) -> bool:
    """Returns whether anything is ever masked."""
    return self.spec_augment_mels > 0 or self.spec_augment_frames > 0
