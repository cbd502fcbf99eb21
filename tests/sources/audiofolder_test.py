"""Folders of sound with metadata, in the layouts that `datasets` documents."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.sources.manifests import write_sounds
from tests.sources.opening import opener, outcomes, read_entries


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("layout", ["", "train", "data/train"])
def test_layouts(tmp_path, kind, layout):
  folder = tmp_path / layout
  (folder / "audio").mkdir(parents=True)
  write_sounds(folder / "audio")
  rows = [
    {"file_name": "audio/one.wav", "transcription": "one, two", "speaker_id": 3},
    {"file_name": "audio/lost.wav", "transcription": "lost", "speaker_id": 4},
    {"file_name": "../../../../../etc/passwd", "transcription": "no sound", "speaker_id": 4},
  ]
  if kind == "jsonl":
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
  elif kind == "csv":
    lines = [",".join(rows[0]), *(f'{r["file_name"]},"{r["transcription"]}",3' for r in rows)]
    (folder / "metadata.csv").write_text("\n".join(lines))
  else:
    pq.write_table(pa.Table.from_pylist(rows), folder / "metadata.parquet")
  good, lost, outside = read_entries("audiofolder", tmp_path, "train")
  assert outcomes([good]) == [("audio/one.wav", "one, two")]
  assert good.record.speaker == "3" and good.record.seconds == 1.0
  assert "not found" in lost.reason
  assert "not found" in outside.reason or "cannot decode" in outside.reason


def test_splits_are_folders(tmp_path):
  for name in ("train", "test"):
    write_sounds_in = tmp_path / name
    write_sounds_in.mkdir()
    write_sounds(write_sounds_in)
    (write_sounds_in / "metadata.csv").write_text(f"file_name,text\none.wav,{name}\n")
  assert outcomes(read_entries("audiofolder", tmp_path, "test")) == [("one.wav", "test")]
  with pytest.raises(ValueError, match="no folder is named after the split 'validation'"):
    read_entries("audiofolder", tmp_path, "validation")
  both = outcomes(read_entries("audiofolder", tmp_path))
  assert both == [("test/one.wav", "test"), ("train/one.wav", "train")]


def test_what_is_no_such_folder(tmp_path):
  with pytest.raises(ValueError, match=r"no metadata file found, expected one of metadata.jsonl"):
    opener("audiofolder")(str(tmp_path))
  (tmp_path / "metadata.csv").write_text("file_name,label\na.wav,5\n")
  with pytest.raises(ValueError, match="no column for the text"):
    opener("audiofolder")(str(tmp_path))
  (tmp_path / "metadata.jsonl").write_text("{}")
  with pytest.raises(ValueError, match="metadata of one kind"):
    opener("audiofolder")(str(tmp_path))
