"""Formats that libsndfile does not know or cannot measure, damaged and forged ones too."""

import io
import os

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from sound_files import encode_by_ffmpeg

from maxtext_ext.audio import limits
from maxtext_ext.audio.ffmpeg import FFmpegError, Recording
from maxtext_ext.audio.io import check_samples, decode_audio
from maxtext_ext.audio.limits import AudioError

RATE = 48_000


def chirp(seconds: float, rate: int = RATE) -> np.ndarray:
  """No two parts of it are alike, and loudness varies, so that bit rates do."""
  time = np.arange(int(seconds * rate)) / rate
  loudness = 0.3 * (1 + np.sin(2 * np.pi * time)) / 2
  return (loudness * np.sin(2 * np.pi * (200 + 50 * time) * time)).astype(np.float32)


FORMATS = {
  "m4a": ("ipod", "aac", None, None),
  "alac": ("ipod", "alac", None, None),
  "aac": ("adts", "aac", None, None),
  "webm": ("webm", "libopus", None, None),
  "mkv": ("matroska", "aac", None, None),
  "wma": ("asf", "wmav2", None, {"b": "64000"}),
  "ac3": ("ac3", "ac3", None, None),
  "piped mp3": ("mp3", "libmp3lame", {"write_xing": "0"}, None),
  "piped variable mp3": (
    "mp3",
    "libmp3lame",
    {"write_xing": "0", "id3v2_version": "0"},
    {"flags": "+qscale", "global_quality": "500"},
  ),
}
FILES = {
  name: encode_by_ffmpeg(chirp(5.0), RATE, container, codec, options, codec_options)
  for name, (container, codec, options, codec_options) in FORMATS.items()
}


def without_length(data: bytes) -> bytes:
  """A FLAC as a program writes it into a pipe."""
  head = bytearray(data[:26])
  head[21:26] = bytes([head[21] & 0xF0, 0, 0, 0, 0])
  return bytes(head) + data[26:]


def flac(samples: np.ndarray) -> bytes:
  file = io.BytesIO()
  soundfile.write(file, samples, RATE, format="FLAC")
  return file.getvalue()


FILES["piped flac"] = without_length(flac(chirp(5.0)))


def shift_of(sound: np.ndarray, expected: np.ndarray) -> int:
  """Samples by which one lies behind the other."""
  size = 1 << 18
  product = np.fft.rfft(sound, size) * np.conj(np.fft.rfft(expected, size))
  lag = int(np.argmax(np.fft.irfft(product)))
  return lag if lag < size // 2 else lag - size


@pytest.mark.parametrize("name", FILES)
def test_formats(name):
  decoded, expected = decode_audio(FILES[name]), chirp(5.0, 16_000)
  assert decoded.dtype == np.float32 and decoded.ndim == 1
  assert len(decoded) == pytest.approx(len(expected), abs=1_600)  # encoders pad
  shift = shift_of(decoded, expected)
  assert abs(shift) <= 1_000  # and not all say by how much
  same = decoded[max(0, shift) :][: len(expected)]
  expected = expected[max(0, -shift) :][: len(same)]
  assert np.corrcoef(same[: len(expected)], expected)[0, 1] > 0.99


def test_lossless_sound_is_exact():
  with Recording(io.BytesIO(FILES["alac"])) as recording:
    assert recording.rate == RATE
    mono = np.concatenate(list(recording.blocks()))
  np.testing.assert_allclose(mono, chirp(5.0), atol=2**-15)


LONG = {
  name: encode_by_ffmpeg(chirp(60.0, rate), rate, *form)
  for name, rate, form in [
    ("m4a", 44_100, ("ipod", "aac")),
    ("alac", 16_000, ("ipod", "alac")),
    ("mp3 in mp4", 44_100, ("mp4", "libmp3lame")),
    ("webm", 48_000, ("webm", "libopus")),
    ("mkv", 44_100, ("matroska", "aac")),
    ("wma", 16_000, ("asf", "wmav2", None, {"b": "64000"})),
  ]
}


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("offset", [29.0, 31.0, 57.5])
def test_a_part_is_what_is_there_in_the_whole(name, offset):
  whole = decode_audio(LONG[name])
  part = decode_audio(LONG[name], offset=offset, duration=2.0)
  first = round(offset * 16_000)
  assert len(part) == 2 * 16_000
  inner = slice(400, -400)  # resampling looks beyond the ends
  expected = whole[first : first + len(part)]
  np.testing.assert_allclose(part[inner], expected[inner], atol=1e-3)


@pytest.mark.parametrize("name", ["m4a", "webm", "mkv"])
def test_a_part_is_found_without_decoding_what_is_before(name, monkeypatch):
  """A limit that the whole would exceed, as a long recording does."""
  monkeypatch.setattr(limits, "MAX_VALUES", 200_000)
  assert len(decode_audio(LONG[name], offset=50.0, duration=2.0)) == 2 * 16_000
  with Recording(io.BytesIO(LONG[name])) as recording:
    rate = recording.rate
    decoded = sum(frame.samples for _, frame in recording._decoded_from(50 * rate))
  assert decoded < 20 * rate, "Matroska has an index of every fifth second"


def test_a_long_mp3_is_read_in_blocks_as_a_whole():
  """libsndfile guesses where it is when soundfile seeks between two of them."""
  samples = chirp(70.0, 16_000)
  variable = {"flags": "+qscale", "global_quality": "500"}
  data = encode_by_ffmpeg(samples, 16_000, "mp3", "libmp3lame", {}, variable)
  at_once, _ = soundfile.read(io.BytesIO(data), dtype="float32")
  np.testing.assert_allclose(decode_audio(data), at_once, atol=1e-6)
  part = decode_audio(data, offset=66.5, duration=2.0)
  np.testing.assert_allclose(part, at_once[round(66.5 * 16_000) :][: 2 * 16_000], atol=1e-6)


def test_a_part_behind_the_end():
  with pytest.raises(AudioError, match="correct the manifest"):
    decode_audio(LONG["m4a"], offset=61.0, duration=2.0)
  with pytest.raises(AudioError, match="correct the manifest"):
    decode_audio(LONG["m4a"], offset=59.0, duration=2.0)


def test_the_sound_of_an_avi():
  data = encode_by_ffmpeg(chirp(2.0, 16_000), 16_000, "avi", "pcm_s16le")
  np.testing.assert_allclose(decode_audio(data), chirp(2.0, 16_000), atol=2**-14)
  with pytest.raises(AudioError, match="cannot decode"):
    decode_audio(data[:300])


@pytest.mark.parametrize("name", ["m4a", "alac", "aac", "webm", "mkv", "wma", "piped flac"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.8])
def test_cut_files_are_refused(name, share):
  data = FILES[name]
  with pytest.raises(AudioError, match="cannot decode"):
    decode_audio(data[: int(share * len(data))])


def test_index_in_front_and_the_sound_cut(tmp_path):
  data = encode_by_ffmpeg(
    chirp(5.0), RATE, "ipod", "aac", {"movflags": "faststart"}, path=str(tmp_path / "x.m4a")
  )
  assert decode_audio(data).size
  with pytest.raises(AudioError, match=r"mov.* is cut short: 2\.\d of 5\.\d s|damaged"):
    decode_audio(data[: len(data) // 2])


def test_both_decoders_are_named():
  with pytest.raises(AudioError, match=r"144 bytes as audio \(libsndfile: .+; FFmpeg: Invalid"):
    decode_audio(b"not audio at all" * 9)


def test_a_playlist_opens_no_other_file(tmp_path):
  (tmp_path / "secret.m4a").write_bytes(FILES["m4a"])
  secret = tmp_path / "secret.m4a"
  for text in (
    f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{secret}\n#EXT-X-ENDLIST\n",
    f"ffconcat version 1.0\nfile {secret}\n",
  ):
    with pytest.raises(FFmpegError):
      Recording(io.BytesIO(text.encode()))


def test_a_film_without_sound(tmp_path):
  path = str(tmp_path / "x.mp4")
  with av.open(path, "w") as file:
    stream = file.add_stream("mpeg4", rate=25)
    stream.width = stream.height = 32
    for packet in (*stream.encode(av.VideoFrame(32, 32, "yuv420p")), *stream.encode(None)):
      file.mux(packet)
  with open(path, "rb") as file, pytest.raises(AudioError, match="no sound track"):
    decode_audio(file.read())


def test_an_index_that_names_the_same_bytes_over_and_over():
  """A table of chunk offsets is forged so that each chunk is the largest."""
  data = bytearray(FILES["alac"])
  table = data.index(b"stsz") + 16
  count = int.from_bytes(data[table - 4 : table], "big")
  for entry in range(count):
    data[table + 4 * entry : table + 4 * entry + 4] = (len(data) // 2).to_bytes(4, "big")
  with pytest.raises(AudioError, match="cannot decode"):
    decode_audio(bytes(data))


@settings(max_examples=80, deadline=None)
@given(
  name=st.sampled_from([*FORMATS]),
  keep=st.floats(0, 1),
  changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
)
def test_broken_files_never_crash(name, keep, changes):
  data = bytearray(FILES[name])
  for place, value in changes:
    data[int(place * min(len(data), 4_096))] = value
  try:
    decoded = decode_audio(bytes(data[: int(keep * len(data))]))
  except AudioError:
    return
  check_samples(decoded)


def test_the_file_stays_open():
  file = io.BytesIO(FILES["m4a"])
  with Recording(file):
    pass
  assert file.seek(0, os.SEEK_END) == len(FILES["m4a"])
