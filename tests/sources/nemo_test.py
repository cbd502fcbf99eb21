"""Tarred data sets of NeMo, as its convert_to_tarred_audio_dataset.py lays them out."""

import numpy as np
import pytest

from tests.sources.manifests import ramp, sound_bytes, write_lines, write_tar
from tests.sources.opening import opener, outcomes, read_entries


def line(path: str, shard_id: object, text: str, **more: object) -> dict:
  return {"audio_filepath": path, "duration": 1.0, "text": text, "shard_id": shard_id} | more


@pytest.fixture
def folder(tmp_path):
  write_tar(
    tmp_path / "audio_0.tar",
    ("_data_clips_a.wav", sound_bytes(0, 1, "WAV")),
    ("_data_clips_long.flac", sound_bytes(0, 4)),
    ("_filtered.wav", sound_bytes(0, 1, "WAV")),
  )
  write_tar(tmp_path / "audio_1.tar", ("_data_clips_a.opus.flac", sound_bytes(1, 2)))
  write_lines(
    tmp_path / "tarred_audio_manifest.json",
    line("_data_clips_long.flac", 0, "first", offset=0.5, duration=1.0),
    line("_data_clips_a.wav", 0, "a", speaker="s", lang="he"),
    line("_data_clips_long-sub1.flac", 0, "second", offset=2.0, duration=0.5),
    line("_data_clips_a.opus.wav", 1, "other a", duration=1.0),
  )
  return tmp_path


def test_a_data_set(folder):
  entries = read_entries("nemo", folder)
  assert outcomes(entries) == [
    ("0/_data_clips_a.wav", "a"),
    ("0/_data_clips_long.flac", "first"),
    ("0/_data_clips_long-sub1.flac", "second"),
    ("1/_data_clips_a.opus.wav", "other a"),
  ]
  a, first, second, other = (entry.record for entry in entries)
  np.testing.assert_allclose(first.audio, ramp(0.5, 1.5), atol=1e-4)
  np.testing.assert_allclose(second.audio, ramp(2.0, 2.5), atol=1e-4)
  np.testing.assert_allclose(other.audio, ramp(1, 2), atol=1e-4)
  assert (a.language, a.speaker) == ("Hebrew", "s")
  assert [entry.position for entry in entries] == [2, 1, 3, 4]
  assert outcomes(read_entries("nemo", folder, shards=1)) == outcomes(entries)


def test_sharded_manifests(folder):
  (folder / "tarred_audio_manifest.json").unlink()
  (folder / "sharded_manifests").mkdir()
  lines = line("_data_clips_a.wav", 0, "a"), line("_data_clips_a.opus.wav", 1, "b")
  for number, each in enumerate(lines):
    write_lines(folder / "sharded_manifests" / f"manifest_{number}.json", each)
  assert [said for _, said in outcomes(read_entries("nemo", folder))] == ["a", "b"]


def test_lines_that_cannot_be_used(folder):
  path = write_lines(
    folder / "manifest.json",
    line("_data_clips_a.wav", 7, "x"),
    line("_data_clips_a.wav", "0", "x"),
    line("", 0, "x"),
    line("gone.wav", 0, "x"),
    line("../../../etc/passwd", 0, "x"),
    line("_data_clips_a.wav", 0, ""),
    [1],
    line("_data_clips_long.flac", 0, "x", offset=9.0),
    line("_data_clips_a.opus.wav", 1, "good"),
  )
  entries = read_entries("nemo", path)
  expected = {
    1: "no tar file of the number 7",
    2: "'shard_id' is '0'",
    3: "no 'audio_filepath'",
    7: "JSON is a list",
    6: "text is missing",
    8: "segment",
    4: "audio_0.tar has no such member",
    5: "audio_0.tar has no such member",
    9: "good",
  }
  assert [entry.position for entry in entries] == list(expected)
  for entry, (_, said) in zip(entries, outcomes(entries), strict=True):
    assert expected[entry.position] in said


def test_a_tar_file_that_is_cut(folder):
  data = (folder / "audio_0.tar").read_bytes()
  (folder / "audio_0.tar").write_bytes(data[: data.index(b"_data_clips_long") + 600])
  a, *lost, other = outcomes(read_entries("nemo", folder))
  assert (a[1], other[1]) == ("a", "other a")
  assert len(lost) == 2 and all("audio_0.tar: file is cut" in reason for _, reason in lost)


def test_what_is_none(tmp_path, folder):
  (folder / "tarred_audio_manifest.json").unlink()
  with pytest.raises(ValueError, match="0 manifests and 2 numbered tar files, expected tarred_"):
    opener("nemo")(str(folder))
