"""Sound of utterances from records, folders and paths."""

import numpy as np
import pytest
import soundfile

from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.evaluate.sounds import find_sounds
from maxtext_ext.records.schema import Record, encode_example
from maxtext_ext.records.writer import ShardWriter

TONE = np.sin(np.arange(32_000) / 9).astype(np.float32) / 2


def clip(identifier: str, seconds: float = 2.0, **extra: object) -> Hypothesis:
  return Hypothesis(id=identifier, duration=seconds, reference="a", hypothesis="b", extra=extra)


def lengths(sounds: list[np.ndarray | None]) -> list[int | None]:
  return [None if sound is None else len(sound) for sound in sounds]


def test_records_are_found_by_their_ids(tmp_path):
  with ShardWriter(str(tmp_path / "test-00000-of-00001.array_record")) as writer:
    for name in ("a", "b"):
      audio = TONE if name == "b" else TONE[:16_000]
      writer.write(encode_example(Record(sample_id=name, audio=audio, text=name)))
  sounds = find_sounds([clip("b"), clip("none"), clip("a")], tmp_path, max_seconds=1.5)
  assert lengths(sounds) == [24_000, None, 16_000]
  np.testing.assert_array_equal(sounds[0], TONE[:24_000])


@pytest.fixture
def folder(tmp_path):
  soundfile.write(tmp_path / "a.wav", TONE, 16_000, subtype="FLOAT")
  (tmp_path / "bad.wav").write_bytes(b"no sound")
  return tmp_path


def test_files_are_found_by_the_line_or_the_id(folder):
  path = str(folder / "a.wav")
  assert lengths(find_sounds([clip("x", audio_filepath=path)], None, max_seconds=9.0)) == [32_000]
  named = [clip("x", audio="a.wav"), clip("x", wav="gs://bucket/a.wav"), clip("a"), clip("a.wav")]
  assert lengths(find_sounds(named, folder, max_seconds=9.0)) == [32_000] * 4
  lacking = [clip("none"), clip("bad"), clip("x", audio=7), clip("x", audio="none.wav")]
  assert lengths(find_sounds(lacking, folder, max_seconds=9.0)) == [None] * 4
  unknown = [clip("a"), clip("x", audio="gs://bucket/a.wav")]
  assert lengths(find_sounds(unknown, None, max_seconds=9.0)) == [None] * 2


def test_segments_and_long_clips_are_cut(folder):
  found = find_sounds(
    [
      clip("a", 2.0),
      clip("a", 2.1),  # a little more than the file has
      clip("a", 0.5, offset=1.0),
      clip("a", 0.0),
      clip("a", 9.0, offset=5.0),
    ],
    folder,
    max_seconds=1.25,
  )
  assert lengths(found) == [20_000, 20_000, 8_000, 20_000, None]
  np.testing.assert_allclose(found[2], TONE[16_000:24_000], atol=1e-6)


def test_a_missing_folder_is_named(tmp_path):
  with pytest.raises(ValueError, match="nothing: no such folder; expected records or sound files"):
    find_sounds([], tmp_path / "nothing", max_seconds=1.0)
