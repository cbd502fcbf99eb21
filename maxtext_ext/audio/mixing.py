"""Mixing of several channels into one."""

import numpy as np

from maxtext_ext.audio.limits import AudioError

_CANCELLED = 1e-3  # of the loudest channel: 60 dB below it


class Mixer:
  """Mixer that takes one channel or the mean of all, and detects channels that cancel."""

  def __init__(self, channel: int | None = None) -> None:
    """Sets which channel is taken, from 0; None: the mean."""
    self._channel = channel
    self._loudest = self._mixed = 0.0

  def check_channels(self, count: int) -> None:
    """Raises AudioError where a recording lacks the requested channel."""
    if self._channel is not None and not 0 <= self._channel < count:
      raise AudioError(
        f"audio has {count} channels, counted from 0, but {self._channel} is asked for"
      )

  def mix(self, block: np.ndarray) -> np.ndarray:
    """Mixes float32 [T, channels] to float32 [T]."""
    if block.shape[1] == 1 or self._channel is not None:
      return np.ascontiguousarray(block[:, self._channel or 0])
    mixed = block.mean(axis=1, dtype=np.float32)
    self._loudest = max(self._loudest, peak_of(block))
    self._mixed = max(self._mixed, peak_of(mixed))
    return mixed

  def check(self) -> None:
    """Raises AudioError where channels of opposite phase cancelled each other."""
    if self._loudest and self._mixed < _CANCELLED * self._loudest:
      raise AudioError(
        f"the channels cancel each other: the loudest has a peak of {self._loudest:.3g}, their "
        f"mean {self._mixed:.3g}; turn the phase of one around, or leave it out"
      )


def peak_of(samples: np.ndarray) -> float:
  """Returns the largest magnitude; NaN where a sample is NaN, 0 of no samples."""
  if not samples.size:
    return 0.0
  return max(abs(float(samples.min())), abs(float(samples.max())))
