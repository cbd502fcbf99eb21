"""Writing one ArrayRecord shard."""

import contextlib
import os
from types import TracebackType

from array_record.python import array_record_module

from maxtext_ext.records import checksum, storage

# group_size:1 puts every record into a chunk of its own: training reads in random order, and would
# otherwise decompress a whole group for each record. zstd:1 writes float samples about four times
# as fast as the default (zstd:3) for 14% more bytes, and still a third below uncompressed.
WRITER_OPTIONS = "group_size:1,zstd:1"


class ShardWriter:
  """Writes serialized records to an ArrayRecord file.

  A context manager: the file takes its name when the block ends well, and is not there otherwise.

  Attributes:
    records: how many were written.
    bytes: size of the file, once it has its name.
    crc32c: checksum of the file, as `checksum.of_file` has it, likewise.
  """

  def __init__(self, path: str) -> None:
    self._path = path
    self.records = 0
    self.bytes = 0
    self.crc32c = ""

  def __enter__(self) -> "ShardWriter":
    with contextlib.ExitStack() as stack:
      temporary = stack.enter_context(storage.replacing(self._path))
      self._writer = array_record_module.ArrayRecordWriter(temporary, WRITER_OPTIONS)
      stack.callback(self._close, temporary)
      self._stack = stack.pop_all()
    return self

  def write(self, data: bytes) -> None:
    """Appends one serialized record."""
    self._writer.write(data)
    self.records += 1

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    self._stack.__exit__(kind, error, trace)

  def _close(self, path: str) -> None:
    self._writer.close()
    self.bytes = os.path.getsize(path)
    self.crc32c = checksum.of_file(path)
