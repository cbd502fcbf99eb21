"""Loudness of a clip, and faults of its level."""

import dataclasses
import math

import numpy as np

from maxtext_ext.audio.limits import PCM16_SCALE

# The largest 16-bit sample. Resampled floats may lie beyond 1; they were clipped before.
FULL_SCALE = (PCM16_SCALE - 1) / PCM16_SCALE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Levels:
  """Levels of one clip; amplitudes with full scale at 1.

  Attributes:
    peak: the largest |sample|.
    rms: root of the mean square. A sine at full scale has 0.707.
    clipped: share of the samples at full scale or beyond.
    offset: the mean, which should be 0 (a DC offset).
  """

  peak: float
  rms: float
  clipped: float
  offset: float


def measure(samples: np.ndarray) -> Levels:
  """Measures the levels of a clip.

  Args:
    samples: [T] float32 with full scale at 1, or int16; T > 0. NaN and infinity go through to
      `rms` and `offset`.
  """
  scale = PCM16_SCALE if samples.dtype == np.int16 else 1
  values = samples.astype(np.float32, copy=False)
  magnitudes = np.abs(values)
  peak = float(magnitudes.max()) / scale
  clipped = np.count_nonzero(magnitudes >= FULL_SCALE * scale) if peak >= FULL_SCALE else 0
  with np.errstate(over="ignore", invalid="ignore"):
    power = float(np.dot(values, values)) / len(values)
    offset = float(values.mean())
  return Levels(
    peak=peak,
    rms=math.sqrt(power) / scale,
    clipped=clipped / len(values),
    offset=offset / scale,
  )


def decibels(amplitude: float) -> float:
  """Converts an amplitude to dBFS: 1 -> 0, 0.1 -> -20, 0 -> -inf."""
  return 20 * math.log10(amplitude) if amplitude > 0 else -math.inf
