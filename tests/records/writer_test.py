"""ArrayRecord shards are written whole or not at all."""

import pytest
from array_record.python import array_record_module

from maxtext_ext.records.reader import RecordSource
from maxtext_ext.records.writer import ShardWriter


def test_write_and_read_back(tmp_path):
  path = str(tmp_path / "new" / "x.array_record")
  records = [bytes([i]) * i for i in range(5)]
  with ShardWriter(path) as writer:
    for data in records:
      writer.write(data)
  source = RecordSource([path])
  assert [source[i] for i in range(len(source))] == records


def test_every_record_can_be_read_alone(tmp_path):
  """group_size:1 is what grain asks for."""
  path = str(tmp_path / "x.array_record")
  with ShardWriter(path) as writer:
    writer.write(b"x")
  reader = array_record_module.ArrayRecordReader(path)
  options = reader.writer_options_string()
  reader.close()
  assert "group_size:1," in options and "zstd:1" in options


def test_an_error_leaves_what_was_there(tmp_path):
  path = tmp_path / "x.array_record"
  path.write_bytes(b"before")
  with pytest.raises(ZeroDivisionError), ShardWriter(str(path)) as writer:
    writer.write(b"x")
    raise ZeroDivisionError
  assert path.read_bytes() == b"before"
  assert list(tmp_path.iterdir()) == [path]
