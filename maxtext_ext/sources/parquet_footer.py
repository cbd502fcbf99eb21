"""What has to be right in a footer of parquet before pyarrow is asked about its columns.

Where the metadata of a column chunk contradicts itself, the C++ library throws; through
`RowGroupMetaData.column` that ends the process (pyarrow 25), while reading raises an exception.
Source: parquet.thrift in github.com/apache/parquet-format.
"""

import os
import struct
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq

from maxtext_ext.audio.integrity import SeekableFile
from maxtext_ext.sources import thrift

_TAIL = struct.Struct("<I4s")  # length of the footer, magic
# Numbers of fields.
_ROW_GROUPS, _COLUMNS, _META_DATA, _ENCRYPTION = 4, 1, 3, (8, 9)
_PATH, _SIZE_STATISTICS = 3, 16
_UNENCODED, _REPETITION, _DEFINITION = 1, 2, 3  # of SizeStatistics


def find_damage(file: SeekableFile, parquet: pq.ParquetFile) -> str | None:
  """Says what is wrong with the metadata of a column; None where nothing is.

  Args:
    file: the parquet file.
    parquet: the same, opened: its footer can be parsed, and its schema is right.
  """
  size = file.seek(-_TAIL.size, os.SEEK_END)
  length, _ = _TAIL.unpack(file.read(_TAIL.size))
  if length > thrift.MAX_SIZE:
    return None  # of thousands of row groups; it would take seconds
  file.seek(size - length)
  try:
    footer, _ = thrift.read_struct(file)
    groups = [_list(group, _COLUMNS) for group in _list(footer, _ROW_GROUPS)]
  except ValueError as error:
    return f"its footer is damaged: {error}"
  columns = len(parquet.schema)
  for number, chunks in enumerate(groups):
    if len(chunks) != columns:
      return f"row group {number} has {len(chunks)} columns, expected {columns}"
    for index, chunk in enumerate(chunks):
      for problem in _problems(chunk, parquet.schema.column(index)):
        return f"row group {number}, column {index}: {problem}"
  return None


def _list(values: Any, number: int) -> list[Any]:
  found = values.get(number) if isinstance(values, dict) else None
  if not isinstance(found, list):
    raise ValueError(f"field {number} is not a list")  # noqa: TRY004  it is damage
  return found


def _problems(chunk: Any, column: pq.ColumnSchema) -> Iterator[str]:
  values = chunk.get(_META_DATA) if isinstance(chunk, dict) else None
  if not isinstance(values, dict):
    yield "no metadata"
    return
  if any(number in chunk for number in _ENCRYPTION):
    yield "it is encrypted"
  path = values.get(_PATH)
  if not isinstance(path, list) or b".".join(path) != column.path.encode():
    yield f"its path is {path!r:.100}, expected {column.path!r}"
  statistics = values.get(_SIZE_STATISTICS, {})
  if not isinstance(statistics, dict):
    yield "size statistics that are none"
    return
  if _UNENCODED in statistics and column.physical_type != "BYTE_ARRAY":
    yield f"size statistics of bytes for {column.physical_type}"
  for number, level in (
    (_REPETITION, column.max_repetition_level),
    (_DEFINITION, column.max_definition_level),
  ):
    histogram = statistics.get(number, [])
    if not isinstance(histogram, list) or len(histogram) not in (0, level + 1):
      yield f"a histogram of levels {histogram!r:.100}, expected {level + 1} numbers"
