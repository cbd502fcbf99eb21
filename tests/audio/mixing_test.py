"""Several channels become one, and those that cancel are told."""

import io

import numpy as np
import pytest
import soundfile

from maxtext_ext.audio.io import decode_audio
from maxtext_ext.audio.limits import AudioError
from maxtext_ext.audio.mixing import peak_of

TONE = (0.3 * np.sin(np.arange(16_000) / 9)).astype(np.float32)


def stereo(left: np.ndarray, right: np.ndarray, kind: str = "WAV") -> bytes:
  file = io.BytesIO()
  soundfile.write(file, np.stack([left, right], axis=1), 16_000, format=kind)
  return file.getvalue()


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3"])
def test_channels_of_opposite_phase(kind):
  with pytest.raises(AudioError, match=r"cancel each other: the loudest has a peak of 0\.3.* turn"):
    decode_audio(stereo(TONE, -TONE, kind))
  assert decode_audio(stereo(TONE, -TONE, kind), channel=1).shape == TONE.shape


@pytest.mark.parametrize("right", [0 * TONE, -TONE / 2, np.roll(TONE, 3)])
def test_channels_that_leave_something(right):
  np.testing.assert_allclose(decode_audio(stereo(TONE, right)), (TONE + right) / 2, atol=2**-14)


def test_silence_in_all_channels_is_silence():
  with pytest.raises(AudioError, match="silent: all 16000"):
    decode_audio(stereo(0 * TONE, 0 * TONE))


@pytest.mark.parametrize(
  ("samples", "peak"), [([], 0), ([1, -2], 2), ([-32_768, 3], 32_768), ([0.5, np.inf], np.inf)]
)
def test_the_peak(samples, peak):
  assert peak_of(np.array(samples)) == peak


def test_the_peak_of_what_is_no_number():
  assert np.isnan(peak_of(np.array([0.5, np.nan, 2.0])))
