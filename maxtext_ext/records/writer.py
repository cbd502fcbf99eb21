"""Writing one ArrayRecord shard."""

import contextlib
from types import TracebackType

from array_record.python import array_record_module

from maxtext_ext.records import storage

# group_size:1 puts every record into a chunk of its own: training reads in random order, and would
# otherwise decompress a whole group for each record. zstd:1 writes float samples about four times
# as fast as the default (zstd:3) for 14% more bytes, and still a third below uncompressed.
WRITER_OPTIONS = "group_size:1,zstd:1"


class ShardWriter:
  """Writes serialized records to an ArrayRecord file.

  A context manager: the file takes its name when the block ends well, and is not there otherwise.
  """

  def __init__(self, path: str) -> None:
    self._path = path

  def __enter__(self) -> "ShardWriter":
    with contextlib.ExitStack() as stack:
      temporary = stack.enter_context(storage.replacing(self._path))
      self._writer = array_record_module.ArrayRecordWriter(temporary, WRITER_OPTIONS)
      stack.enter_context(contextlib.closing(self._writer))
      self._stack = stack.pop_all()
    return self

  def write(self, data: bytes) -> None:
    """Appends one serialized record."""
    self._writer.write(data)

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    self._stack.__exit__(kind, error, trace)
