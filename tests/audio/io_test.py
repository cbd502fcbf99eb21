"""Files in, mono 16 kHz out; what cannot be used is refused with its reason."""

import io
import math
import struct

import fsspec
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from maxtext_ext.audio import blocks
from maxtext_ext.audio.io import (
  check_samples,
  convert_blocks,
  convert_samples,
  decode_audio,
  load_audio,
  load_blocks,
  read_audio,
  read_blocks,
  resample,
)
from maxtext_ext.audio.limits import SAMPLE_RATE, AudioError


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
    (
      encode(np.stack([tone(), -tone()], axis=1), subtype="FLOAT"),
      "the channels cancel each other",
    ),
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


def with_size(data: bytes, mark: bytes, at: int, size: int, form: str) -> bytes:
  """Another number so far behind a mark in the header."""
  position = data.index(mark) + at
  return data[:position] + struct.pack(form, size) + data[position + struct.calcsize(form) :]


@pytest.mark.parametrize(
  ("kind", "mark", "at", "form", "sizes"),
  [
    (
      "WAV",
      b"data",
      4,
      "<I",
      [0, 0x7FFFEFFC, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFF - 36],
    ),
    ("RF64", b"ds64", 16, "<Q", [0, 2**63 - 1, 2**64 - 1]),
    ("AU", b".snd", 8, ">I", [0, 0x7FFFFFFF, 0xFFFFFFFF]),
    ("AIFF", b"SSND", 4, ">I", [0, 8, 0x7F000000, 0x7FFFFFFF, 0xFFFFFFFF]),
    ("W64", b"data", 16, "<Q", [0, 24, 2**64 - 1]),
  ],
)
def test_sound_of_unknown_size_is_read_to_its_end(kind, mark, at, form, sizes):
  """A program that writes into a pipe leaves such a size."""
  data = encode(tone(), kind=kind, subtype="PCM_16")
  for size in sizes:
    samples = decode_audio(with_size(data, mark, at, size, form))
    np.testing.assert_allclose(samples, tone(), atol=2**-15)


def test_a_recording_without_sound_stays_one():
  """Checks that what follows its empty chunk is taken for other chunks, not for sound."""
  file = io.BytesIO()
  with soundfile.SoundFile(file, "w", SAMPLE_RATE, 1, format="WAV") as sound:
    sound.write(np.zeros(0, np.float32))
  empty = file.getvalue() + b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + bytes(18)
  for data in (file.getvalue(), empty):
    with pytest.raises(AudioError, match="0 samples"):
      decode_audio(data)


@pytest.mark.parametrize("peak", [8.1, 32_767.0, 1e15, 1e29])
def test_samples_out_of_scale(peak):
  with pytest.raises(AudioError, match=r"peak of .*, expected at most 1 .* scale it to \[-1, 1\]"):
    decode_audio(encode(tone() / 0.3 * np.float32(peak), subtype="FLOAT"))
  assert np.abs(decode_audio(encode(tone() * 5, subtype="FLOAT"))).max() > 1.4


@pytest.mark.parametrize(
  ("offset", "duration", "is_there"),
  [
    (16.0, 0.3, False),
    (16.0, 0.05, True),
    (15.9, 0.16, True),
    (15.0, 1.5, False),
    (10.0, 6.5, True),
  ],
)
def test_how_far_a_part_may_go_beyond_the_end(offset, duration, is_there):
  data = encode(tone(16.04))
  if is_there:
    samples = decode_audio(data, offset=offset, duration=duration)
    assert len(samples) == pytest.approx((16.04 - offset) * SAMPLE_RATE, abs=1)
  else:
    with pytest.raises(AudioError, match="correct the manifest"):
      decode_audio(data, offset=offset, duration=duration)


def bomb(seconds: int, rate: int, channels: int = 1) -> bytes:
  """Little in a file, much when unpacked."""
  file = io.BytesIO()
  with soundfile.SoundFile(file, "w", rate, channels, format="FLAC", subtype="PCM_16") as sound:
    for _ in range(seconds):
      sound.write(np.full((rate, channels), 1, np.int16))
  return file.getvalue()


@pytest.mark.parametrize(
  ("seconds", "rate", "channels", "reason"),
  [
    (1_201, 16_000, 1, "longer than 1200 s; cut it into clips"),
    (100, 192_000, 8, "8 channels at 192000 Hz, 153600000 values in all, expected at most"),
  ],
)
def test_what_unpacks_to_too_much(seconds, rate, channels, reason):
  data = bomb(seconds, rate, channels)
  with pytest.raises(AudioError, match=reason):
    decode_audio(data)
  assert decode_audio(data, offset=90.0, duration=2.0).shape == (2 * SAMPLE_RATE,)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
@pytest.mark.parametrize(
  ("offset", "duration", "begin", "end"),
  [
    (0.0, None, 0.0, 2.0),
    (0.0, 0.5, 0.0, 0.5),
    (0.75, None, 0.75, 2.0),
    (0.75, 1.0, 0.75, 1.75),
    (1.5, 0.6, 1.5, 2.0),  # a little too long: manifests round
  ],
)
def test_parts(kind, offset, duration, begin, end):
  rate = 48_000 if kind in ("OGG", "MP3") else SAMPLE_RATE  # so that resampling takes part
  whole = tone(2.0, rate) * np.linspace(0.1, 1, 2 * rate, dtype=np.float32)
  part = decode_audio(encode(whole, rate, kind), offset=offset, duration=duration)
  expected = decode_audio(encode(whole, rate, kind))[
    int(begin * SAMPLE_RATE) : int(end * SAMPLE_RATE)
  ]
  assert part.shape == expected.shape
  np.testing.assert_allclose(part[400:-400], expected[400:-400], atol=2e-3)


@pytest.mark.parametrize(
  ("offset", "duration", "reason"),
  [
    (2.0, None, "segment starts at 2.00 s, but the audio ends 0.00 s behind its start"),
    (99.0, 1.0, "segment starts at 99.00 s and takes 1.0 s, but the audio ends 0.00 s"),
    (1.0, 1.6, "the audio ends 1.00 s behind its start; correct the manifest"),
    (-1.0, None, "expected 0 or more"),
    (0.0, 0.0, "and more than 0"),
    (math.nan, None, "segment starts at nan s"),
    (math.inf, None, "segment starts at inf s"),
  ],
)
def test_parts_that_are_not_there(offset, duration, reason):
  with pytest.raises(AudioError, match=reason):
    decode_audio(encode(tone(2.0)), offset=offset, duration=duration)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([8_000, 11_025, 44_100]), st.integers(99, 200_000), st.integers(999, 70_000))
def test_long_clips_are_resampled_in_pieces_as_a_whole(rate, length, block):
  samples = np.random.default_rng(length).uniform(-1, 1, length).astype(np.float32)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr("maxtext_ext.audio.blocks._BLOCK", block)
    decoded = decode_audio(encode(samples, rate, subtype="FLOAT"))
  np.testing.assert_array_equal(decoded, resample(samples, rate))


@pytest.mark.parametrize(
  ("kind", "subtype"), [("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)]
)
def test_a_file_too_large_to_be_copied_has_the_same_samples(monkeypatch, kind, subtype):
  data = encode(tone(1.5), kind=kind, subtype=subtype)
  copied = decode_audio(data)
  monkeypatch.setattr(blocks, "_MOST_COPIED", 0)
  np.testing.assert_array_equal(decode_audio(data), copied)


class Failing(io.BytesIO):
  """A disk or a network that fails behind some bytes."""

  def read(self, size: int | None = -1) -> bytes:
    data = super().read(size)
    if self.tell() > 100_000:
      raise OSError(5, "Input/output error")
    return data


def test_a_file_that_cannot_be_read_is_no_short_one():
  """libsndfile takes the error for the end of the file."""
  for kind in ("WAV", "FLAC"):
    noise = np.random.default_rng(0).uniform(-1, 1, 200_000)
    with pytest.raises(OSError, match="Input/output error"):
      read_audio(Failing(encode(noise, kind=kind)))


@pytest.mark.parametrize(
  ("samples", "rate", "expected"),
  [
    (tone(), SAMPLE_RATE, tone()),
    (tone().astype(np.float64), SAMPLE_RATE, tone()),
    (np.array([-32_768, 16_384], np.int16), SAMPLE_RATE, [-1.0, 0.5]),
    (tone(1.0, 8_000), 8_000, resample(tone(1.0, 8_000), 8_000)),
  ],
)
def test_samples_in_memory(samples, rate, expected):
  converted = convert_samples(samples, rate)
  assert converted.dtype == np.float32
  np.testing.assert_array_equal(converted, expected)


@pytest.mark.parametrize(
  ("samples", "rate", "reason"),
  [
    (np.ones((2, 3)), SAMPLE_RATE, r"audio is float64\[2, 3\], expected mono floats"),
    (np.array(["a"]), SAMPLE_RATE, "expected mono floats"),
    (np.ones(4, np.int64), SAMPLE_RATE, "int64"),
    (tone(), 500, "sample rate is 500 Hz"),
    (np.zeros(4), SAMPLE_RATE, "silent"),
    (with_value(np.nan), 8_000, "1 NaN or infinite samples of 8000, the first at 17"),
    (np.ones(19_200_001, np.float32), SAMPLE_RATE, "longer than 1200 s"),
  ],
)
def test_samples_in_memory_that_cannot_be_used(samples, rate, reason):
  with pytest.raises(AudioError, match=reason):
    convert_samples(samples, rate)


def test_sound_at_a_url():
  fsspec.filesystem("memory").pipe("/sound/a.wav", encode(tone()))
  assert load_audio("memory://sound/a.wav").shape == (8_000,)
  assert load_audio("memory://sound/a.wav", offset=0.25).shape == (4_000,)


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


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_blocks_are_the_whole_in_parts(kind, tmp_path):
  data = encode(tone(3.0, 48_000) * np.linspace(0.1, 1, 144_000, dtype=np.float32), 48_000, kind)
  (tmp_path / "sound").write_bytes(data)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr("maxtext_ext.audio.blocks._BLOCK", 10_000)
    parts = list(load_blocks(str(tmp_path / "sound")))
  assert len(parts) > 10
  np.testing.assert_array_equal(np.concatenate(parts), decode_audio(data))


def test_blocks_of_joined_files_and_of_silence():
  first, second = encode(tone(0.5)), encode(np.zeros(800, np.float32))
  joined = np.concatenate(list(read_blocks(io.BytesIO(first + second))))
  assert len(joined) == 8_800
  assert not np.concatenate(list(read_blocks(io.BytesIO(second)))).any()


@pytest.mark.parametrize(
  ("data", "reason"),
  [
    (encode(np.zeros(0, np.float32)), "0 samples"),
    (encode(tone() * 50, subtype="FLOAT"), "expected at most 1"),
    (encode(np.array([0.1, np.inf]), subtype="FLOAT"), "1 NaN or infinite samples of 2"),
    (encode(np.stack([tone(), -tone()], axis=1)), "the channels cancel each other"),
    (encode(tone(3.0)), "longer than 2 s"),
    (encode(tone(), kind="FLAC")[:-99], "cut short|cannot decode"),
    (b"text", "cannot decode 4 bytes"),
  ],
  # Files of floats hold the time at which they were made, which may not be part of a test's name.
  ids=["empty", "loud", "infinite", "opposite", "long", "cut", "text"],
)
def test_blocks_of_bad_audio(data, reason):
  with pytest.raises(AudioError, match=reason):
    list(read_blocks(io.BytesIO(data), max_seconds=2.0))


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_samples_are_converted_in_blocks_as_a_whole(rate, dtype):
  samples = tone(2.0, rate)
  samples = (samples * 32_767).astype(dtype) if dtype == np.int16 else samples.astype(dtype)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr("maxtext_ext.audio.io._BLOCK", 9_999)
    parts = list(convert_blocks(samples, rate))
  np.testing.assert_array_equal(np.concatenate(parts), convert_samples(samples, rate))
