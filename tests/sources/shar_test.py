"""Lhotse Shar folders, in the layout that SharWriter makes."""

import json
import pathlib

import numpy as np
import pytest

from tests.sources.lhotse_test import cut, recording, supervision
from tests.sources.manifests import ramp, sound_bytes, write_lines, write_tar
from tests.sources.opening import opener, outcomes, read_entries


def placeholder(name: str, seconds: float) -> dict:
  found = recording(name, "", seconds)
  found["sources"] = [{"type": "shar", "channels": [0], "source": ""}]
  return found


def shar_cut(name: str, begin: float, end: float, text: str) -> tuple[dict, list]:
  """A cut and its members: its sound is that part of the recording alone."""
  sound = placeholder(f"rec-{name}", end - begin)
  said = supervision(f"sup-{name}", f"rec-{name}", 0.0, end - begin, text)
  about = json.dumps(sound).encode()
  members = [(f"{name}.flac", sound_bytes(begin, end)), (f"{name}.json", about)]
  return cut(name, 0, end - begin, sound, said), members


def write_shard(folder: pathlib.Path, number: int, *parts: tuple[dict, list]) -> None:
  folder.mkdir(exist_ok=True)
  write_lines(folder / f"cuts.{number:06d}.jsonl.gz", *(part[0] for part in parts))
  members = [member for part in parts for member in part[1]]
  write_tar(folder / f"recording.{number:06d}.tar", *members)


def test_shards(tmp_path):
  write_shard(
    tmp_path,
    0,
    shar_cut("a-1.sp0.9", 0.5, 1.5, "one"),
    shar_cut("a-2.sp0.9", 1, 2, "two"),
    shar_cut("dir/b", 2, 2.5, "three"),
  )
  write_shard(tmp_path, 1, shar_cut("c", 3, 4, "four"))
  shards = opener("shar")(str(tmp_path))
  assert [len(shard.cuts) for shard in shards] == [1, 1]
  entries = read_entries("shar", tmp_path, dataset_name="d")
  assert outcomes(entries) == [
    ("a-1.sp0.9", "one"),
    ("a-2.sp0.9", "two"),
    ("dir/b", "three"),
    ("c", "four"),
  ]
  np.testing.assert_allclose(entries[0].record.audio, ramp(0.5, 1.5), atol=1e-4)
  assert (entries[3].record.language, entries[3].record.dataset_name) == ("English", "d")
  assert [entry.position for entry in entries] == [1, 2, 3, 1]
  assert entries[2].done == 1.0


def test_cuts_that_cannot_be_used(tmp_path):
  silent, _ = shar_cut("silent", 0, 1, "no sound")
  mixed = {"id": "mixed", "tracks": [], "type": "MixedCut"}
  write_shard(
    tmp_path,
    0,
    (silent, [("silent.nodata", b""), ("silent.nometa", b"")]),
    (mixed, [("mixed.flac", sound_bytes(0, 1)), ("mixed.json", b"{}")]),
    (shar_cut("moved", 0, 1, "x")[0], shar_cut("other", 0, 1, "x")[1]),
    (shar_cut("junk", 0, 1, "x")[0], [("junk.flac", b"junk"), ("junk.json", b"{}")]),
    shar_cut("good", 0, 1, "x"),
    (shar_cut("behind", 0, 1, "x")[0], []),
  )
  entries = outcomes(read_entries("shar", tmp_path))
  expected = {
    "silent": ".nodata",
    "mixed": "'MixedCut'",
    "moved": "has 'other' in its place",
    "junk": "cannot decode",
    "good": "x",
    "behind": "ends before this cut",
  }
  assert [name for name, _ in entries] == list(expected)
  for name, said in entries:
    assert expected[name] in said


def test_a_tar_file_that_is_cut(tmp_path):
  write_shard(tmp_path, 0, *(shar_cut(f"c{i}", 0, 1, "x") for i in range(4)))
  path = tmp_path / "recording.000000.tar"
  data = path.read_bytes()
  path.write_bytes(data[: data.index(b"c2.flac") + 700])
  entries = outcomes(read_entries("shar", tmp_path))
  assert [said for _, said in entries[:2]] == ["x", "x"]
  for _, reason in entries[2:]:
    assert "tar file of the recordings: file is cut" in reason


def test_splits_and_missing_files(tmp_path):
  with pytest.raises(ValueError, match="no Shar folder, expected cuts"):
    opener("shar")(str(tmp_path))
  for name in ("train", "dev"):
    write_shard(tmp_path / name, 0, shar_cut(name, 0, 1, name))
  assert outcomes(read_entries("shar", tmp_path, "validation")) == [("dev", "dev")]
  (tmp_path / "dev" / "recording.000000.tar").unlink()
  with pytest.raises(ValueError, match=r"dev/recording.000000.tar: no such file, which 1 of 1"):
    opener("shar")(str(tmp_path), None, "validation")
