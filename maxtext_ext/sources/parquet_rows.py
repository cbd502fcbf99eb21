"""Rows of parquet files, also of damaged or forged ones.

A child process reads the files, see `parquet_reader`. When it ends, the rest of its row group is
bad, and a new child goes on with the next one.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from maxtext_ext.audio.integrity import SeekableFile
from maxtext_ext.sources import parquet_child, parquet_reader
from maxtext_ext.sources.columns import check_column, row_of
from maxtext_ext.sources.parquet_reader import ParquetReader, ReaderEndedError, ReadError

_MAX_GROUP = 1 << 30  # bytes of a row group's columns where the system does not limit memory


class BrokenFileError(ValueError):
  """File that is not parquet, or incomplete."""


@contextlib.contextmanager
def open_parquet(file: SeekableFile, size: int) -> Iterator["ParquetFile"]:
  """Opens a file of so many bytes by its footer.

  Raises:
    BrokenFileError: there is no footer, or it cannot be true.
    OSError: the file cannot be read, or no process be started.
  """
  parquet = ParquetFile(file, size)
  try:
    parquet.read_footer()
    yield parquet
  finally:
    parquet.close()


class ParquetFile:
  """An open parquet file; see `open_parquet`.

  Attributes:
    schema: its columns.
    counts: rows of each row group.
  """

  schema: pa.Schema
  counts: list[int]

  def __init__(self, file: SeekableFile, size: int) -> None:
    self._file, self._size = file, size
    self._reader: ParquetReader | None = None

  @property
  def num_rows(self) -> int:
    """Number of rows."""
    return sum(self.counts)

  def read_footer(self) -> None:
    """Finds out `schema` and `counts`; raises what `open_parquet` does."""
    try:
      try:
        self._open()
      except ReaderEndedError as error:
        if not error.is_killed:
          raise
        self._open()
    except ReadError as error:
      raise BrokenFileError(f"not a whole parquet file ({error})") from error
    # A forged number of rows would become as many shards.
    if min(self.counts, default=0) < 0 or self.num_rows > self._size:
      raise BrokenFileError(
        f"not a whole parquet file (its {self._size} bytes say {self.num_rows} rows)"
      )

  def read_rows(
    self, leaves: Sequence[str], first: int, count: int
  ) -> Iterator[dict[str, Any] | str]:
    """Reads some consecutive rows.

    Args:
      leaves: which columns; "a.b" is member b of the struct column a.
      first: the first row, from 0.
      count: number of rows.

    Yields:
      Each row as a Python value for each leaf, lists of numbers as numpy arrays [N]; or the reason
      why it cannot be read.

    Raises:
      OSError: the file cannot be read, or no process be started.
    """
    start = 0  # first row of the row group
    for group, rows in enumerate(self.counts):
      begin, end = max(first - start, 0), min(first + count - start, rows)
      if begin < end:
        yield from self._read_group(group, leaves, begin, end)
      start += rows

  def close(self) -> None:
    """Leaves the child to the next file."""
    if self._reader:
      parquet_reader.release_reader(self._reader)
      self._reader = None

  def _read_group(
    self, group: int, leaves: Sequence[str], begin: int, end: int
  ) -> Iterator[dict[str, Any] | str]:
    row = begin
    was_killed = False
    while row < end:
      try:
        for values in self._ask_rows(group, leaves, row, end):
          yield values
          row += 1
        reason = f"row group {group} ends before its row {row}"
      except ReaderEndedError as error:
        if error.is_killed and not was_killed:
          was_killed = True
          continue
        reason = f"row group {group} cannot be read from row {row} on ({error})"
      except ReadError as error:
        reason = f"row group {group} is damaged from row {row} on ({error})"
      for _ in range(row, end):
        yield reason
      return

  def _open(self) -> ParquetReader:
    """Has a child open the file."""
    self.close()
    self._reader = reader = parquet_reader.take_reader()
    for kind, content in reader.ask(parquet_child.OPEN, {"size": self._size}, self._file):
      if kind == parquet_child.COUNTS:
        self.counts = json.loads(content)
      else:
        self.schema = _as_schema(content)
    return reader

  def _ask_rows(
    self, group: int, leaves: Sequence[str], begin: int, end: int
  ) -> Iterator[dict[str, Any] | str]:
    reader = self._reader if self._reader and self._reader.is_idle else self._open()
    request = {
      "group": group,
      "leaves": list(leaves),
      "begin": begin,
      "end": end,
      "max_size": None if parquet_reader.LIMITS_MEMORY else _MAX_GROUP,
    }
    row = begin
    schema = pa.schema([])
    for kind, content in reader.ask(parquet_child.ROWS, request, self._file):
      if kind == parquet_child.SCHEMA:
        schema = _as_schema(content)
        continue
      if kind == parquet_child.BAD_ROW:
        yield f"row {row} of row group {group} {content.decode(errors='replace')}"
      else:
        yield _as_row(content, schema)
      row += 1


def _as_schema(content: bytearray) -> pa.Schema:
  try:
    return pa.ipc.read_schema(pa.py_buffer(content))
  except (pa.ArrowException, OSError) as error:
    raise ReadError(f"a schema that is none: {error}") from error


def _as_row(content: bytearray, schema: pa.Schema) -> dict[str, Any] | str:
  try:
    batch = pa.ipc.read_record_batch(pa.py_buffer(content), schema)
    columns = {name: check_column(batch.column(name)) for name in schema.names}
  except (pa.ArrowException, OSError) as error:
    raise ReadError(f"a row that is none: {error}") from error
  return row_of(columns, 0)
