"""Files joined byte by byte are read to the end of the last one."""

import io

import numpy as np
import pytest
import soundfile
from sound_files import encode_by_ffmpeg

from maxtext_ext.audio.io import decode_audio
from maxtext_ext.audio.joined import find_joints
from maxtext_ext.audio.limits import AudioError

RATE = 16_000


def sound(seed: int, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
  """Unlike that of every other seed; the beginning and the end are soft."""
  time = np.arange(int(seconds * rate)) / rate
  loudness = 0.3 * np.sin(np.pi * time / seconds)
  return (loudness * np.sin(2 * np.pi * (200 + 60 * seed + 50 * time) * time)).astype(np.float32)


def written(samples: np.ndarray, kind: str, subtype: str | None = None, rate: int = RATE) -> bytes:
  file = io.BytesIO()
  soundfile.write(file, samples, rate, format=kind, subtype=subtype)
  return file.getvalue()


def by_ffmpeg(samples: np.ndarray, container: str, codec: str, **options: str) -> bytes:
  rate = 48_000 if codec == "libopus" else RATE
  if codec == "libopus":
    samples = np.repeat(samples, 3)
  return encode_by_ffmpeg(samples, rate, container, codec, options)


FORMATS = {
  "wav": lambda samples: written(samples, "WAV"),
  "rf64": lambda samples: written(samples, "RF64"),
  "aiff": lambda samples: written(samples, "AIFF"),
  "au": lambda samples: written(samples, "AU"),
  "flac": lambda samples: written(samples, "FLAC"),
  "vorbis": lambda samples: written(samples, "OGG", "VORBIS"),
  "opus": lambda samples: written(samples, "OGG", "OPUS"),
  "mp3": lambda samples: written(samples, "MP3"),
  "tagged mp3": lambda samples: by_ffmpeg(samples, "mp3", "libmp3lame", id3v2_version="3"),
  "piped mp3": lambda samples: by_ffmpeg(samples, "mp3", "libmp3lame", write_xing="0"),
  "bare mp3": lambda samples: by_ffmpeg(
    samples, "mp3", "libmp3lame", write_xing="0", id3v2_version="0"
  ),
  "aac": lambda samples: by_ffmpeg(samples, "adts", "aac"),
  "m4a": lambda samples: by_ffmpeg(samples, "ipod", "aac"),
  "webm": lambda samples: by_ffmpeg(samples, "webm", "libopus"),
}
# Streams without a header of their own: a decoder takes them for one, delay of the second and all.
ONE_STREAM = ("bare mp3", "aac")


@pytest.mark.parametrize("name", FORMATS)
def test_all_of_it_is_read(name):
  encode = FORMATS[name]
  parts = [encode(sound(seed)) for seed in range(3)]
  whole = decode_audio(b"".join(parts))
  alone = np.concatenate([decode_audio(part) for part in parts])
  if name in ONE_STREAM:
    assert len(whole) == pytest.approx(len(alone), abs=4_000)
    assert np.linalg.norm(whole) == pytest.approx(np.linalg.norm(alone), rel=0.02)
  else:
    np.testing.assert_array_equal(whole, alone)


@pytest.mark.parametrize("name", ["wav", "flac", "vorbis", "mp3", "m4a"])
@pytest.mark.parametrize("offset", [0.25, 1.5, 2.25])
def test_parts_of_it(name, offset):
  encode = FORMATS[name]
  data = b"".join(encode(sound(seed)) for seed in range(3))
  whole = decode_audio(data)
  part = decode_audio(data, offset=offset, duration=0.7)
  first = round(offset * RATE)
  assert len(part) == round(0.7 * RATE)
  np.testing.assert_allclose(part, whole[first : first + len(part)], atol=1e-6)


def test_other_rates_and_channels():
  stereo = np.stack([sound(1, rate=48_000)] * 2, axis=1)
  data = written(sound(0), "OGG") + written(stereo, "OGG", rate=48_000)
  assert len(decode_audio(data)) == 2 * RATE


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_is_one_has_no_joints(name):
  for tail in (b"", b"TAG" + bytes(125), bytes(2_000)):
    file = io.BytesIO(FORMATS[name](sound(0)) + tail)
    assert find_joints(file) == []
    assert file.tell() == 0


def test_the_last_one_is_cut():
  data = FORMATS["flac"](sound(0)) + FORMATS["flac"](sound(1))[:-900]
  with pytest.raises(AudioError, match="cannot decode"):
    decode_audio(data)
  with pytest.raises(AudioError, match="cut short"):
    decode_audio(FORMATS["vorbis"](sound(0)) + FORMATS["vorbis"](sound(1))[:-100])


def test_very_many_are_refused():
  data = written(sound(0, seconds=0.01), "FLAC") * 1_001
  with pytest.raises(AudioError, match="files joined into one, expected 1000 at most"):
    decode_audio(data)


def test_all_together_are_too_long():
  half_an_hour = written(np.full(700 * RATE, 0.1, np.float32), "FLAC")
  with pytest.raises(AudioError, match="longer than 1200 s"):
    decode_audio(half_an_hour * 2)


def test_two_tracks_of_a_film_are_no_two_files():
  """Their first pages stand at the beginning one after the other."""
  first, second = written(sound(0), "OGG"), written(sound(1), "OGG")
  end = find_joints(io.BytesIO(second + first))[0]
  assert end == len(second)
  page = second[: 27 + second[26] + sum(second[27 : 27 + second[26]])]
  assert find_joints(io.BytesIO(page + first)) == []
