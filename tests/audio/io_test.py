"""Files in, mono 16 kHz out; what cannot be used is refused with its reason."""

import io
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from maxtext_ext.audio.io import (
  SAMPLE_RATE,
  AudioError,
  check_samples,
  decode_audio,
  load_audio,
  resample,
)


def tone(seconds: float = 0.5, rate: int = SAMPLE_RATE, hz: float = 440.0) -> np.ndarray:
  return (0.3 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def encode(samples: np.ndarray, rate: int = SAMPLE_RATE, kind: str = "WAV", subtype=None) -> bytes:
  file = io.BytesIO()
  soundfile.write(file, samples, rate, format=kind, subtype=subtype)
  return file.getvalue()


@pytest.mark.parametrize(
  ("kind", "subtype", "tolerance"),
  [
    ("WAV", "PCM_16", 2**-15),
    ("WAV", "PCM_24", 2**-23),
    ("WAV", "PCM_U8", 2**-7),
    ("WAV", "FLOAT", 0),
    ("WAV", "DOUBLE", 0),
    ("WAVEX", "PCM_16", 2**-15),
    ("RF64", "PCM_16", 2**-15),
    ("FLAC", "PCM_16", 2**-15),
    ("OGG", "VORBIS", 0.05),
    ("OGG", "OPUS", 0.05),
    ("MP3", "MPEG_LAYER_III", 0.05),
  ],
)
def test_formats(kind, subtype, tolerance):
  samples = tone()
  decoded = decode_audio(encode(samples, kind=kind, subtype=subtype))
  assert decoded.dtype == np.float32
  assert decoded.shape == samples.shape
  np.testing.assert_allclose(decoded[800:-800], samples[800:-800], atol=tolerance, rtol=0)


@pytest.mark.parametrize("rate", [1_000, 8_000, 11_025, 22_050, 44_100, 48_000, 192_000])
def test_other_rates_are_resampled(rate):
  hz = 200.0
  decoded = decode_audio(encode(tone(1.0, rate, hz), rate, subtype="FLOAT"))
  assert decoded.shape == (SAMPLE_RATE,)
  np.testing.assert_allclose(decoded[1600:-1600], tone(1.0, hz=hz)[1600:-1600], atol=2e-3)


def test_channels_are_averaged():
  left, right = tone(hz=300), tone(hz=700)
  decoded = decode_audio(encode(np.stack([left, right], axis=1), subtype="FLOAT"))
  np.testing.assert_allclose(decoded, (left + right) / 2, atol=1e-7)


def with_value(value: float) -> np.ndarray:
  samples = tone()
  samples[17] = value
  return samples


@pytest.mark.parametrize(
  ("data", "reason"),
  [
    (b"", "cannot decode 0 bytes"),
    (b"not audio at all" * 9, "cannot decode 144 bytes"),
    (encode(np.zeros(800, np.float32)), "silent: all 800"),
    (encode(np.stack([tone(), -tone()], axis=1), subtype="FLOAT"), "silent"),
    (encode(np.zeros(0, np.float32)), "0 samples"),
    (encode(with_value(np.nan), subtype="FLOAT"), "1 NaN or infinite samples of 8000.* at 17"),
    (encode(with_value(np.inf), 8_000, subtype="FLOAT"), "1 NaN or infinite"),
    (encode(tone(rate=500), 500), "sample rate is 500 Hz"),
    (encode(tone())[:-1], "cut short: .* 15999 of 16000 bytes"),
    (encode(tone())[:9_000], "cut short"),
    (encode(tone())[:30], "cut short: no data chunk"),
    (encode(tone(), kind="FLAC")[:-200], "cannot decode"),
    (encode(tone(2.0), kind="MP3")[:-900], "MP3 file is cut short"),
    (encode(tone(2.0), kind="OGG")[:-100], "OGG file is cut short"),
    # Named, because an OGG stream starts with a random number and test processes compare names.
    pytest.param(encode(tone(2.0), kind="OGG")[:20], "OGG file is cut short", id="OGG header"),
  ],
)
def test_bad_audio_is_refused(data, reason):
  with pytest.raises(AudioError, match=reason):
    decode_audio(data)


@pytest.mark.parametrize("size", [0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF - 36])
def test_wav_of_unknown_size_is_read(size):
  """A program that writes into a pipe leaves such a size; all that follows is sound."""
  data = bytearray(encode(tone(), subtype="PCM_16"))
  position = data.index(b"data") + 4
  data[position : position + 4] = struct.pack("<I", size)
  np.testing.assert_allclose(decode_audio(bytes(data)), tone(), atol=2**-15)


def test_forged_frame_count_costs_no_memory():
  data = bytearray(encode(tone(), kind="FLAC"))
  data[21:26] = bytes([data[21] | 0x0F, 0xFF, 0xFF, 0xFF, 0xFF])  # 2**36 - 1 frames in STREAMINFO
  with pytest.raises(AudioError):
    decode_audio(bytes(data))


@settings(max_examples=60, deadline=None)
@given(
  kind=st.sampled_from(["WAV", "FLAC", "OGG", "MP3"]),
  keep=st.floats(0, 1),
  position=st.integers(0, 200),
  value=st.integers(0, 255),
)
def test_broken_files_never_crash(kind, keep, position, value):
  data = bytearray(encode(tone(0.1), kind=kind))
  data[position] = value
  try:
    decoded = decode_audio(bytes(data[: int(keep * len(data))]))
  except AudioError:
    return
  check_samples(decoded)


def test_resample_keeps_what_is_at_the_rate():
  samples = tone()
  assert resample(samples, SAMPLE_RATE) is samples


@pytest.mark.parametrize("rate", [-8_000, 0, 999, 1_000_000])
def test_resample_refuses_absurd_rates(rate):
  with pytest.raises(AudioError, match=f"{rate} Hz, expected 1000 to"):
    resample(tone(), rate)


def test_check_samples_wants_one_channel():
  with pytest.raises(AudioError, match="one channel"):
    check_samples(np.ones((2, 5), np.float32))


def test_load_audio_names_the_file(tmp_path):
  good = tmp_path / "good.wav"
  good.write_bytes(encode(tone()))
  assert load_audio(str(good)).shape == (8_000,)
  bad = tmp_path / "bad.wav"
  bad.write_bytes(b"x")
  for path, reason in [
    (bad, "bad.wav: cannot decode"),
    (tmp_path / "none.wav", "none.wav: audio file not found"),
    (tmp_path, "cannot read the audio file"),
    ("nul\0byte.wav", "cannot read the audio file"),
  ]:
    with pytest.raises(AudioError, match=reason):
      load_audio(str(path))
