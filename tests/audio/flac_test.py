"""16-bit FLAC: exact, and no file can claim more than it may have."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np

from maxtext_ext.audio.flac import MAX_SAMPLES, decode_flac, encode_flac
from maxtext_ext.audio.limits import AudioError

RAMP = (100 * np.arange(-300, 300)).astype(np.int16)


def flac(samples: np.ndarray, rate: int = 16_000, subtype: str = "PCM_16", kind="FLAC") -> bytes:
  file = io.BytesIO()
  soundfile.write(file, samples, rate, format=kind, subtype=subtype)
  return file.getvalue()


@settings(deadline=None)
@given(st_np.arrays(np.int16, st.integers(1, 5_000)))
def test_round_trip_is_exact(samples):
  decoded = decode_flac(encode_flac(samples))
  assert decoded.dtype == np.int16
  np.testing.assert_array_equal(decoded, samples)


@pytest.mark.parametrize("length", [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, 1 << 21])
def test_clips_of_one_block_and_more(length):
  samples = (np.arange(length) % 251).astype(np.int16)
  np.testing.assert_array_equal(decode_flac(encode_flac(samples)), samples)


def forged(frames: int) -> bytes:
  data = bytearray(encode_flac(RAMP))
  data[21:26] = (0xF0 << 32 | frames).to_bytes(5, "big")  # 16 bits, number of samples in STREAMINFO
  return bytes(data)


@pytest.mark.parametrize(
  ("data", "reason"),
  [
    (b"", "0 bytes are no FLAC file"),
    (encode_flac(RAMP)[:30], "30 bytes are no FLAC file"),
    (encode_flac(RAMP)[:-40], "no FLAC file|FLAC is cut short"),
    (flac(RAMP, kind="WAV"), "audio is WAV PCM_16, 1 channels, 16000 Hz; expected FLAC"),
    (flac(RAMP, rate=8_000), "8000 Hz; expected FLAC PCM_16, 1 channel, 16000 Hz"),
    (flac(RAMP, subtype="PCM_24"), "FLAC PCM_24"),
    (flac(np.stack([RAMP, RAMP], axis=1)), "2 channels"),
    (forged(2**32 - 1), "FLAC claims 4294967295 samples, expected at most 19200000"),
    (forged(len(RAMP) + 1), "no FLAC file|600 of 601 samples"),
  ],
)
def test_what_is_no_such_file(data, reason):
  with pytest.raises(AudioError, match=reason):
    decode_flac(data)


@pytest.mark.parametrize("length", [0, MAX_SAMPLES + 1])
def test_what_could_not_be_read_is_not_written(length):
  with pytest.raises(AudioError, match=f"{length} samples, FLAC takes 1 to {MAX_SAMPLES}"):
    encode_flac(np.zeros(length, np.int16))
