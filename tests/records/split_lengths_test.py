"""Lengths of a split: stored ones are used, others are made once and kept."""

import logging
import os
import pathlib

import numpy as np
import pytest

from maxtext_ext.files import storage
from maxtext_ext.files.writing import WriteError
from maxtext_ext.records import split_lengths
from maxtext_ext.records.lengths import UNREADABLE, lengths_path, read_lengths
from maxtext_ext.records.reader import RecordSource
from maxtext_ext.records.schema import Record, encode_example
from maxtext_ext.records.split_lengths import SplitLengths, find_lengths, find_or_scan_lengths
from maxtext_ext.records.writer import ShardWriter


def record(number: int, **fields) -> Record:
  audio = np.full(160 + number, 0.5, np.float32)
  return Record(sample_id=f"clip{number}", audio=audio, text=f"text {number}", **fields)


def write_shard(path: str, entries: list[bytes]) -> str:
  with ShardWriter(path) as writer:
    for entry in entries:
      writer.write(entry)
  return path


@pytest.fixture
def shards(tmp_path, monkeypatch) -> list[str]:
  """Three and no and four records, in float32, 16 bits and FLAC; two of them cannot be read."""
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  nan = np.full(160, np.nan, np.float32)
  entries = [
    encode_example(record(0, language="Hebrew")),
    encode_example(record(1), audio="pcm16"),
    b"no example",
    encode_example(record(3, prompt="names"), audio="flac"),
    encode_example(Record(sample_id="nan", audio=nan, text="x")),
    encode_example(record(5)),
    encode_example(record(6)),
  ]
  parts = [entries[:3], [], entries[3:]]
  return [
    write_shard(str(tmp_path / "data" / f"train-0000{index}-of-00003.array_record"), part)
    for index, part in enumerate(parts)
  ]


def check(lengths: SplitLengths | None) -> None:
  assert lengths is not None and len(lengths) == 7
  bad = UNREADABLE
  assert lengths.samples.tolist() == [160, 161, bad, 163, bad, 165, 166]
  assert lengths.characters.tolist() == [6, 6, 0, 6, 0, 6, 6]
  for index in (6, 0, 3, 5, 1):
    clip = lengths[index]
    assert (clip.sample_id, clip.text) == (f"clip{index}", f"text {index}")
    assert len(clip.audio) == 160 + index
  assert lengths[2] is None and lengths[4] is None
  assert (lengths[0].language, lengths[3].prompt) == ("Hebrew", "names")
  with pytest.raises(IndexError):
    lengths[7]


def refuse_to_read(self: RecordSource, index: int) -> bytes:
  raise AssertionError("a record was read")


def test_scanned_once_and_stored_beside_the_shards(shards, monkeypatch, capsys):
  assert find_lengths(shards) is None
  check(find_or_scan_lengths(shards))
  assert "lengths 7/7" in capsys.readouterr().err
  monkeypatch.setattr(RecordSource, "__getitem__", refuse_to_read)
  check(find_lengths(shards))
  check(find_or_scan_lengths(shards))
  assert not capsys.readouterr().err


def test_a_folder_that_cannot_be_written_to(shards, monkeypatch, tmp_path):
  """Root may write anywhere, so the refusal is simulated."""
  write = storage.write_bytes

  def refuse_beside(path: str, data: bytes) -> None:
    if path.startswith(str(tmp_path / "data")):
      raise WriteError(f"{path}: read-only")
    write(path, data)

  monkeypatch.setattr(storage, "write_bytes", refuse_beside)
  check(find_or_scan_lengths(shards))
  assert not list((tmp_path / "data").glob("*.npz"))
  assert len(list((tmp_path / "cache" / "maxtext_ext" / "lengths").iterdir())) == 3
  check(find_lengths(shards))


def test_nowhere_to_store_them(shards, monkeypatch, caplog):
  def refuse(path: str, data: bytes) -> None:
    raise WriteError(f"{path}: read-only")

  monkeypatch.setattr(storage, "write_bytes", refuse)
  check(find_or_scan_lengths(shards))
  assert caplog.text.count("its lengths cannot be stored") == 3
  assert find_lengths(shards) is None


def test_only_the_shard_that_lacks_them_is_read(shards, monkeypatch):
  find_or_scan_lengths(shards)
  os.remove(lengths_path(shards[0]))
  read = RecordSource.__getitem__
  indices = []
  monkeypatch.setattr(
    RecordSource, "__getitem__", lambda self, index: indices.append(index) or read(self, index)
  )
  check(find_or_scan_lengths(shards))
  assert sorted(indices) == [0, 1, 2]


def test_lengths_of_what_the_shard_was_before(shards):
  find_or_scan_lengths(shards)
  noise = np.random.default_rng(0).normal(0, 0.1, 50_000).astype(np.float32)
  write_shard(shards[0], [encode_example(Record(sample_id="new", audio=noise, text="new"))])
  assert find_lengths(shards) is None
  lengths = find_or_scan_lengths(shards)
  assert len(lengths) == 5 and lengths[0].sample_id == "new"


def test_a_damaged_file_is_made_again(shards, caplog):
  find_or_scan_lengths(shards)
  path = pathlib.Path(lengths_path(shards[2]))
  whole = path.read_bytes()
  path.write_bytes(whole[:-100])
  with caplog.at_level(logging.WARNING, split_lengths.__name__):
    check(find_or_scan_lengths(shards))
  assert "not a file of lengths" in caplog.text
  assert path.read_bytes() == whole and len(read_lengths(str(path))) == 4
