"""Child process that reads parquet files: the child's side, run as a script.

`python parquet_child.py MEMORY` talks to its parent over a socket, its standard input. It imports
nothing of the package, so it starts in 0.15 s and takes 70 MB; and it opens no files: it asks the
parent for their bytes. A message is its kind (a byte), the length of its content, and the content.
"""

import contextlib
import io
import json
import os
import resource
import socket
import struct
import sys
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

# From the parent: JSON that asks for something, and bytes of the file.
OPEN, ROWS, DATA = b"o", b"r", b"d"
# To the parent: ready for requests; bytes of the file wanted; rows of each group; schema; a row, or
# why there is none; the end of the answer, or why there is no more of it.
READY, READ, COUNTS, SCHEMA, ROW, BAD_ROW, END, ERROR = (bytes([code]) for code in b"!?csbxe-")
PLACE = struct.Struct("<QQ")  # of READ: first byte, number of bytes
MAX_READ = 4 << 20  # bytes
MAX_ROW = 128 << 20  # bytes of a row that are handed over
MAX_MESSAGE = MAX_ROW + (16 << 20)
OUT_OF_MEMORY = 3  # exit status
SECONDS = 5  # of processor time for an answer, and more for large row groups:
_BYTES_PER_SECOND = 100 << 20  # unpacked; the slowest codec does twice as many
_BATCH = 8  # rows decoded at once
_STREAM_BUFFER = 1 << 20  # bytes; without one a whole column of a row group is read at once
_HEAD = struct.Struct("<cQ")


def send(connection: socket.socket, kind: bytes, content: bytes | pa.Buffer = b"") -> None:
  """Sends a message.

  Raises:
    OSError: the other side is gone, or does not listen.
  """
  connection.sendall(_HEAD.pack(kind, len(content)))
  connection.sendall(content)


def receive(connection: socket.socket) -> tuple[bytes, bytearray]:
  """Waits for a message; returns its kind and content.

  Raises:
    EOFError: the other side is gone.
    OSError: the same, or it says nothing.
    ValueError: it is too large.
  """
  kind, size = _HEAD.unpack(_receive_bytes(connection, _HEAD.size))
  if size > MAX_MESSAGE:
    raise ValueError(f"a message of {size} bytes, expected at most {MAX_MESSAGE}")
  return kind, _receive_bytes(connection, size)


def _receive_bytes(connection: socket.socket, size: int) -> bytearray:
  data = bytearray(size)
  rest = memoryview(data)
  while rest:
    count = connection.recv_into(rest)
    if not count:
      raise EOFError
    rest = rest[count:]
  return data


class _LentFile(io.RawIOBase):
  """The parent's file, as Arrow reads one."""

  def __init__(self, connection: socket.socket, size: int) -> None:
    self._connection, self._size, self._position = connection, size, 0

  def read(self, size: int = -1, /) -> bytearray:
    left = max(0, self._size - self._position)
    data = bytearray(left if size < 0 else min(size, left))
    for start in range(0, len(data), MAX_READ):
      part = memoryview(data)[start : start + MAX_READ]
      send(self._connection, READ, PLACE.pack(self._position, len(part)))
      _, content = receive(self._connection)
      if len(content) != len(part):
        raise EOFError(f"the file ends before its byte {self._position + len(part)}")
      part[:] = content
      self._position += len(part)
    return data

  def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
    start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
    self._position = max(0, start + offset)
    return self._position

  def tell(self) -> int:
    return self._position

  def seekable(self) -> bool:
    return True

  def readable(self) -> bool:
    return True


class _Child:
  """State of the process: the file that is open."""

  def __init__(self, connection: socket.socket, memory: int) -> None:
    self._connection, self._memory = connection, memory
    self._parquet: pq.ParquetFile

  def serve(self) -> None:
    """Answers one request."""
    kind, content = receive(self._connection)
    answers: dict[bytes, Callable[..., None]] = {OPEN: self._open, ROWS: self._send_rows}
    answer = answers[kind]
    try:
      answer(**json.loads(content))
    except MemoryError:
      os._exit(OUT_OF_MEMORY)
    except (pa.ArrowException, ValueError, EOFError, OSError) as error:
      text = str(error).strip().split("\n")[0]
      send(self._connection, ERROR, text[:1_000].encode(errors="replace"))
    else:
      send(self._connection, END)
    pa.default_memory_pool().release_unused()

  def _open(self, size: int) -> None:
    _limit_time(0)
    file = _LentFile(self._connection, size)
    self._parquet = pq.ParquetFile(
      file, pre_buffer=False, buffer_size=_STREAM_BUFFER, page_checksum_verification=True
    )
    schema, metadata = self._parquet.schema_arrow, self._parquet.metadata
    schema.remove_metadata().to_string(show_field_metadata=False)  # fails if a name is not UTF-8
    counts = []
    for number in range(metadata.num_row_groups):
      group = metadata.row_group(number)
      counts.append(group.num_rows)
      for column in range(group.num_columns):
        group.column(column).path_in_schema  # noqa: B018  fails if the metadata is damaged
    if metadata.num_rows != sum(counts):
      raise ValueError(f"it says {metadata.num_rows} rows, its row groups {sum(counts)}")
    send(self._connection, COUNTS, json.dumps(counts).encode())
    send(self._connection, SCHEMA, schema.serialize())

  def _send_rows(
    self, group: int, leaves: list[str], begin: int, end: int, max_size: int | None
  ) -> None:
    """Sends some rows of a row group.

    Args:
      group: number of the row group.
      leaves: the columns; "a.b" is member b of the struct a.
      begin: first row in the group.
      end: last row, exclusive.
      max_size: bytes of the unpacked columns; None: there is no limit.
    """
    size = self._size_of(group, leaves)
    if max_size is not None and size > max_size:
      raise ValueError(
        f"its columns have {size} bytes, expected at most {max_size} where the system does not "
        "limit memory; rewrite it with smaller row groups"
      )
    start = 0
    seconds = min(size, self._memory) // _BYTES_PER_SECOND
    batches = self._parquet.iter_batches(
      _BATCH, row_groups=[group], columns=leaves, use_threads=False
    )
    for batch in _limited(batches, seconds):
      rows = pa.RecordBatch.from_arrays([_column_of(batch, leaf) for leaf in leaves], leaves)
      if start == 0:
        send(self._connection, SCHEMA, rows.schema.serialize())
      for index in range(max(begin, start), min(end, start + len(rows))):
        self._send_row(rows.slice(index - start, 1))
      start += len(rows)
      if start >= end:
        return

  def _send_row(self, row: pa.RecordBatch) -> None:
    if row.nbytes > MAX_ROW:
      text = f"has {row.nbytes} bytes, expected at most {MAX_ROW}; cut the recording"
      send(self._connection, BAD_ROW, text.encode())
    else:
      send(self._connection, ROW, row.serialize())

  def _size_of(self, group: int, leaves: Sequence[str]) -> int:
    """Bytes of columns, unpacked, as the footer says."""
    metadata = self._parquet.metadata.row_group(group)
    columns = [metadata.column(index) for index in range(metadata.num_columns)]
    prefixes = tuple(f"{leaf}." for leaf in leaves)
    return sum(
      column.total_uncompressed_size
      for column in columns
      if f"{column.path_in_schema}.".startswith(prefixes)
    )


def _column_of(batch: pa.RecordBatch, leaf: str) -> pa.Array:
  """A column, or a member of a struct; values instead of indices into a dictionary."""
  if leaf in batch.schema.names:
    column = batch.column(leaf)
  else:
    name, _, member = leaf.partition(".")
    struct_column = batch.column(name)
    index = struct_column.type.get_field_index(member)
    column = struct_column.flatten()[index]  # null where the struct is
  is_dictionary = pa.types.is_dictionary(column.type)
  return column.dictionary_decode() if is_dictionary else column


def _limited(batches: Iterator[pa.RecordBatch], seconds: int) -> Iterator[pa.RecordBatch]:
  """The same, with a limit of time for each."""
  while True:
    _limit_time(seconds)
    try:
      batch = next(batches)
    except StopIteration:
      return
    yield batch


def _limit_time(seconds: int) -> None:
  """Limits the further processor time of the process, after which the system ends it."""
  used = resource.getrusage(resource.RUSAGE_SELF)
  end = int(used.ru_utime + used.ru_stime) + 1 + SECONDS + seconds
  _set_limit(resource.RLIMIT_CPU, end)


def _set_limit(kind: int, value: int) -> None:
  _, most = resource.getrlimit(kind)
  if most == resource.RLIM_INFINITY or value < most:
    resource.setrlimit(kind, (value, most))


def main(memory: int) -> None:
  """Answers requests until the parent is gone.

  Args:
    memory: bytes of address space; 0: the system does not limit it.
  """
  _set_limit(resource.RLIMIT_CORE, 0)  # a dump would take seconds
  if memory:
    _set_limit(resource.RLIMIT_AS, memory)
  connection = socket.socket(fileno=0)
  child = _Child(connection, memory)
  with contextlib.suppress(EOFError, ConnectionError):
    send(connection, READY)
    while True:
      child.serve()


if __name__ == "__main__":
  main(int(sys.argv[1]))
