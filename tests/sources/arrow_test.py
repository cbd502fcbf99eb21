"""Arrow files as datasets saves and caches them, and broken ones."""

import json
import pathlib

import fsspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxtext_ext.sources.entry import Good
from tests.sources.manifests import sound_bytes, write_sounds
from tests.sources.opening import opener, outcomes, read_entries

AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SOUND = sound_bytes(0, 0.1, "WAV")


def table(*ids: str, path: str | None = None, sound: bytes | None = SOUND) -> pa.Table:
  rows = [{"bytes": sound, "path": path}] * len(ids)
  texts = [f"text of {name}" for name in ids]
  return pa.table({"audio": pa.array(rows, AUDIO), "sentence": texts, "id": list(ids)})


def write_stream(path: pathlib.Path, content: pa.Table, rows: int = 2) -> pathlib.Path:
  with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, content.schema) as writer:
    writer.write_table(content, max_chunksize=rows)
  return path


def save_to_disk(folder: pathlib.Path, *parts: pa.Table, **state: object) -> pathlib.Path:
  """Writes a folder as Dataset.save_to_disk does."""
  folder.mkdir(parents=True, exist_ok=True)
  names = [f"data-{index:05d}-of-{len(parts):05d}.arrow" for index in range(len(parts))]
  for name, part in zip(names, parts, strict=True):
    write_stream(folder / name, part)
  files = [{"filename": name} for name in names]
  kept = {"_data_files": files, "_fingerprint": "0f", "_format_type": None, "_split": "train"}
  (folder / "state.json").write_text(json.dumps(kept | state))
  (folder / "dataset_info.json").write_text(json.dumps({"features": {}, "splits": {}}))
  return folder


def test_a_saved_data_set(tmp_path):
  folder = save_to_disk(tmp_path / "saved", table("a", "b", "c"), table("d"))
  entries = read_entries("arrow", folder, dataset_name="mine")
  assert outcomes(entries) == [(name, f"text of {name}") for name in "abcd"]
  assert [entry.position for entry in entries] == [0, 1, 2, 0]
  assert entries[0].record.dataset_name == "mine" and entries[0].record.seconds == 0.1
  shards = opener("arrow")(str(folder))
  assert len(shards) == 1
  again = read_entries("arrow", folder, shards=4)
  assert outcomes(again) == outcomes(entries)
  assert [entry.done for entry in again] == [1.0] * 4


def test_splits(tmp_path):
  for name in ("train", "validation"):
    save_to_disk(tmp_path / name, table(name))
  (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
  assert outcomes(read_entries("arrow", tmp_path, "dev"))[0][0] == "validation"
  with pytest.raises(ValueError, match="no folder is named after the split 'test'"):
    read_entries("arrow", tmp_path, "test")


def test_files_of_the_cache(tmp_path):
  write_stream(tmp_path / "common_voice-train-00000-of-00001.arrow", table("a"))
  write_stream(tmp_path / "common_voice-test.arrow", table("b"))
  write_stream(tmp_path / "cache-1234567890abcdef.arrow", table("c"))
  (tmp_path / "dataset_info.json").write_text("{}")
  assert [name for name, _ in outcomes(read_entries("arrow", tmp_path, "train"))] == ["a"]
  assert [name for name, _ in outcomes(read_entries("arrow", tmp_path, "test"))] == ["b"]


def test_a_file_with_a_footer_and_sounds_beside_it(tmp_path):
  write_sounds(tmp_path)
  content = table("a", "b", path="one.wav", sound=None)
  with (
    pa.OSFile(str(tmp_path / "x.arrow"), "wb") as file,
    pa.ipc.new_file(file, content.schema) as writer,
  ):
    writer.write_table(content, max_chunksize=1)
  entries = read_entries("arrow", tmp_path / "x.arrow", shards=2)
  assert [entry.record.seconds for entry in entries] == [1.0, 1.0]


def test_at_a_url(tmp_path):
  path = write_stream(tmp_path / "x.arrow", table("a", "b", "c"))
  fsspec.filesystem("memory").pipe("/arrow/x.arrow", path.read_bytes())
  entries = read_entries("arrow", "memory://arrow", shards=2)
  assert [name for name, _ in outcomes(entries)] == ["a", "b", "c"]


@pytest.mark.parametrize(
  ("change", "reason"),
  [
    ({"_data_files": [{"filename": "gone.arrow"}]}, r"gone.arrow: no such file, which state.json"),
    ({"_data_files": [{"filename": "../../x.arrow"}]}, r"x.arrow: no such file"),
    ({"_data_files": 3}, "expected '_data_files'"),
    ({"_indices_data_files": [{"filename": "i.arrow"}]}, "flatten_indices"),
  ],
)
def test_a_state_that_cannot_be_used(tmp_path, change, reason):
  folder = save_to_disk(tmp_path, table("a"), **change)
  with pytest.raises(ValueError, match=reason):
    opener("arrow")(str(folder))


def test_columns_that_are_missing(tmp_path):
  write_stream(tmp_path / "x.arrow", table("a", "b").drop_columns("sentence"))
  entries = read_entries("arrow", tmp_path)
  assert len(entries) == 2 and all("no column for the text" in each.reason for each in entries)
  write_stream(tmp_path / "x.arrow", table())
  with pytest.raises(ValueError, match="no rows in it"):
    read_entries("arrow", tmp_path)


CONTENT = table("a", "b", "c", "d", "e")


def whole() -> bytes:
  sink = pa.BufferOutputStream()
  with pa.ipc.new_stream(sink, CONTENT.schema) as writer:
    writer.write_table(CONTENT, max_chunksize=2)
  return sink.getvalue().to_pybytes()


WHOLE = whole()


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 0.999))
def test_a_file_that_is_cut_gives_the_batches_before(tmp_path_factory, share):
  path = tmp_path_factory.mktemp("cut") / "x.arrow"
  path.write_bytes(WHOLE[: int(share * (len(WHOLE) - 8))])
  entries = read_entries("arrow", path)
  good = [entry for entry in entries if isinstance(entry, Good)]
  assert [entry.record.sample_id for entry in good] == list("abcde")[: len(good)]
  assert len(good) in (0, 2, 4, 5)
  assert all("not a whole Arrow file" in entry.reason for entry in entries[len(good) :])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_broken_files_never_crash(tmp_path_factory, data):
  path = tmp_path_factory.mktemp("broken") / "x.arrow"
  content = bytearray(WHOLE)
  for _ in range(data.draw(st.integers(1, 4))):
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
  path.write_bytes(content)
  try:
    entries = read_entries("arrow", path)
  except ValueError as error:
    assert "no rows" in str(error)
    return
  assert [entry.position for entry in entries] == list(range(len(entries)))
