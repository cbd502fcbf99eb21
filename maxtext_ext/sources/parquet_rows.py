"""Rows of a parquet file, a few at a time, whatever the size of its row groups."""

import io
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from maxtext_ext.audio.integrity import SeekableFile
from maxtext_ext.sources import parquet_footer
from maxtext_ext.sources.columns import column_of, row_of
from maxtext_ext.sources.parquet_pages import (
  PageError,
  check_pages,
  has_large_pages,
  read_values,
)

_BATCH_BYTES = 8 << 20  # of rows held at once
_MAX_BATCH = 1_024  # rows
_MAX_ROW = 128 << 20  # bytes; what is decompressed is held twice for a moment
_STREAM_BUFFER = 1 << 20  # bytes; without one a whole column of a row group is read at once


class BrokenFileError(ValueError):
  """It is no parquet file, or not a whole one."""


def open_parquet(file: SeekableFile, size: int) -> pq.ParquetFile:
  """Opens a file of so many bytes by its footer.

  Raises:
    BrokenFileError: there is no footer, or it cannot be true.
    OSError: the file cannot be read.
  """
  try:
    parquet = pq.ParquetFile(
      file, pre_buffer=False, buffer_size=_STREAM_BUFFER, page_checksum_verification=True
    )
    parquet.schema_arrow  # noqa: B018  it is only now translated
    metadata = parquet.metadata
    counted = sum(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
  except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
    _raise_io_error(error)
    raise BrokenFileError(f"not a whole parquet file ({_first_line(error)})") from error
  if damage := parquet_footer.find_damage(file, parquet):
    raise BrokenFileError(f"not a whole parquet file ({damage})")
  # A forged number of rows would become as many shards.
  if not 0 <= metadata.num_rows <= size or metadata.num_rows != counted:
    raise BrokenFileError(
      f"the footer of {size} bytes of parquet says {metadata.num_rows} rows, "
      f"its row groups {counted}"
    )
  return parquet


def read_rows(
  parquet: pq.ParquetFile, file: SeekableFile, leaves: Sequence[str], first: int, count: int
) -> Iterator[dict[str, Any] | str]:
  """Reads some consecutive rows.

  Args:
    parquet: see `open_parquet`.
    file: what it was opened with.
    leaves: which columns; "a.b" is member b of the struct column a.
    first: the first row, from 0.
    count: number of rows.

  Yields:
    Each row as a Python value for each leaf, lists of numbers as numpy arrays [N]; or the reason
    why it cannot be read.

  Raises:
    OSError: the file cannot be read.
  """
  start = 0  # first row of the row group
  for group in range(parquet.num_row_groups):
    rows = parquet.metadata.row_group(group).num_rows
    begin, end = max(first - start, 0), min(first + count - start, rows)
    if begin < end:
      yield from _read_group(parquet, file, group, leaves, begin, end)
    start += rows


def _read_group(
  parquet: pq.ParquetFile,
  file: SeekableFile,
  group: int,
  leaves: Sequence[str],
  begin: int,
  end: int,
) -> Iterator[dict[str, Any] | str]:
  row = begin
  try:
    large = _read_large_columns(parquet, file, group, leaves, begin, end)
    small = [leaf for leaf in leaves if leaf not in large]
    _check_small_columns(parquet, file, group, small)
    size = _size_of_row(parquet, group, small)
    if size > _MAX_ROW:
      for _ in range(begin, end):
        yield f"row group {group} has {size} bytes a row, expected {_MAX_ROW} at most"
      return
    batch = min(_MAX_BATCH, max(1, _BATCH_BYTES // size))
    for values in _read_small_columns(parquet, group, small, begin, end, batch):
      for leaf, column in large.items():
        value = next(column)
        if isinstance(values, dict):
          values[leaf] = value
      yield values
      row += 1
    reason = f"row group {group} ends before its row {row}"
  except (pa.ArrowException, PageError, OSError) as error:
    _raise_io_error(error)
    reason = f"row group {group} is damaged from row {row} on ({_first_line(error)})"
  for _ in range(row, end):
    yield reason


def _read_large_columns(
  parquet: pq.ParquetFile,
  file: SeekableFile,
  group: int,
  leaves: Sequence[str],
  begin: int,
  end: int,
) -> dict[str, Iterator[bytes | None]]:
  """The columns of bytes that Arrow would need too much memory for."""
  metadata = parquet.metadata.row_group(group)
  found = {}
  for index in range(metadata.num_columns):
    chunk, column = metadata.column(index), parquet.schema.column(index)
    is_single = column.path in leaves and not column.max_repetition_level
    if is_single and has_large_pages(file, chunk):
      found[column.path] = read_values(file, chunk, column.max_definition_level, begin, end)
  return found


def _check_small_columns(
  parquet: pq.ParquetFile, file: SeekableFile, group: int, leaves: Sequence[str]
) -> None:
  """Arrow makes room for as many bytes as the header of a page says."""
  if not isinstance(file, io.BufferedReader):
    return  # far away: all of it would be read twice
  metadata = parquet.metadata.row_group(group)
  for index in range(metadata.num_columns):
    path = f"{parquet.schema.column(index).path}."
    if any(path.startswith(f"{leaf}.") for leaf in leaves):
      check_pages(file, metadata.column(index))


def _read_small_columns(
  parquet: pq.ParquetFile, group: int, leaves: Sequence[str], begin: int, end: int, batch: int
) -> Iterator[dict[str, Any] | str]:
  """All other columns, so many rows at a time."""
  start = 0
  for rows in parquet.iter_batches(
    batch, row_groups=[group], columns=list(leaves), use_threads=False
  ):
    columns = {leaf: column_of(rows, leaf) for leaf in leaves}
    for row in range(max(begin, start), min(end, start + len(rows))):
      yield row_of(columns, row - start)
    start += len(rows)
    if start >= end:
      return


def _size_of_row(parquet: pq.ParquetFile, group: int, leaves: Sequence[str]) -> int:
  """Bytes of the mean row, decompressed, 1 at least."""
  metadata = parquet.metadata.row_group(group)
  columns = (metadata.column(index) for index in range(metadata.num_columns))
  size = sum(
    column.total_uncompressed_size
    for column in columns
    if any(f"{column.path_in_schema}.".startswith(f"{leaf}.") for leaf in leaves)
  )
  return max(1, size // max(1, metadata.num_rows))


def _raise_io_error(error: Exception) -> None:
  """Arrow says OSError of bad content too, but then without the operating system's number."""
  if isinstance(error, OSError) and error.errno is not None:
    raise error


def _first_line(error: Exception) -> str:
  return str(error).strip().split("\n")[0]
