"""WAV files of mono 16-bit samples, which every program reads."""

import io

import numpy as np
import soundfile

from maxtext_ext.audio.limits import SAMPLE_RATE


def encode_wav(samples_T: np.ndarray) -> bytes:
  """Returns a WAV file of [T] int16 samples, mono at SAMPLE_RATE."""
  file = io.BytesIO()
  soundfile.write(file, samples_T, SAMPLE_RATE, subtype="PCM_16", format="WAV")
  return file.getvalue()
