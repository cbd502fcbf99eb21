"""Files of lengths: read back as written, and damaged ones are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.records.lengths import (
  LengthsBuilder,
  ShardLengths,
  lengths_path,
  read_lengths,
  shard_of,
  write_lengths,
)
from maxtext_ext.records.schema import Record

SHARD = "train-00000-of-00055.array_record"
texts = st.text(st.characters(codec="utf-8"))
records = st.builds(
  Record,
  sample_id=texts,
  audio=st.integers(0, 50).map(lambda samples: np.ones(samples, np.int16)),
  text=texts,
  language=st.none() | texts,
  prompt=texts,
)


def build(entries: list[Record | None]) -> ShardLengths:
  builder = LengthsBuilder()
  for entry in entries:
    builder.add(entry)
  return builder.build(shard_bytes=7)


FEW = [
  Record(sample_id="a", audio=np.ones(160, np.int16), text=" שלום \n", language="Hebrew"),
  None,
  Record(sample_id="b", audio=np.ones(320, np.float32), text="hi", prompt="names"),
]


@given(st.lists(st.none() | records))
def test_read_back_as_written(entries):
  lengths = ShardLengths.from_bytes(build(entries).to_bytes())
  assert lengths.equals(build(entries)) and len(lengths) == len(entries)
  for read, written in zip(lengths.records(), entries, strict=True):
    if written is None:
      assert read is None
      continue
    assert len(read.audio) == len(written.audio) and not read.audio.any()
    for name in ("sample_id", "text", "prompt"):
      assert getattr(read, name) == getattr(written, name)
    assert read.language == (written.language or None)


def test_columns():
  lengths = build(FEW)
  assert lengths.samples.tolist() == [160, -1, 320]
  assert lengths.characters.tolist() == [4, 0, 2]
  assert lengths.samples.dtype == lengths.characters.dtype == np.int32
  assert not lengths.equals(build(FEW[:2]))
  assert lengths.to_bytes() == build(FEW).to_bytes()


def test_the_file_stands_beside_its_shard(tmp_path):
  shard = str(tmp_path / SHARD)
  assert lengths_path(shard) == str(tmp_path / "train-00000-of-00055.lengths.npz")
  assert shard_of(lengths_path(shard)) == shard
  assert read_lengths(lengths_path(shard)) is None
  write_lengths(shard, build(FEW))
  lengths = read_lengths(lengths_path(shard))
  assert lengths and lengths.equals(build(FEW))


def test_a_damaged_file_is_refused(tmp_path):
  path = tmp_path / "x.lengths.npz"
  whole = build(FEW).to_bytes()
  cut = [whole[:length] for length in range(0, len(whole), 97)]
  flipped = [whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :] for at in range(60, 90)]
  for content in (*cut, *flipped, b"\x93NUMPY", b"x" * 100):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.lengths\.npz: not a file of lengths .*; remove it"):
      read_lengths(str(path))
