"""A folder with sound files that manifests of every kind can name."""

import pathlib

import numpy as np
import soundfile

RATE = 16_000


def ramp(begin: float, end: float) -> np.ndarray:
  """Samples from one second to another of a sound that tells where it was cut out."""
  return (0.1 * np.arange(int(begin * RATE), int(end * RATE)) / RATE).astype(np.float32)


def write_sounds(folder: pathlib.Path) -> pathlib.Path:
  """Writes one.wav (1 s), long.flac (4 s) and stereo.wav (1 s, the right channel half as loud)."""
  soundfile.write(folder / "one.wav", ramp(0, 1), RATE, subtype="FLOAT")
  soundfile.write(folder / "long.flac", ramp(0, 4), RATE)
  both = np.stack([ramp(0, 1), ramp(0, 1) / 2], axis=1)
  soundfile.write(folder / "stereo.wav", both, RATE, subtype="FLOAT")
  return folder
