"""Parquet files as Hugging Face writes them: a recording in each row, as bytes of a sound file.

`columns` finds the columns and lists their types. A row without an id gets the path of its audio as
id, or else the name of the file (with its folder, if files are in several) and the row number.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

from maxtext_ext.files import storage
from maxtext_ext.records.schema import Record, RecordError
from maxtext_ext.sources.columns import Columns
from maxtext_ext.sources.dataset_files import shared_folder
from maxtext_ext.sources.entry import Bad, Good
from maxtext_ext.sources.options import EVERY_OPTION, SourceOptions
from maxtext_ext.sources.parquet_rows import BrokenFileError, open_parquet
from maxtext_ext.sources.sharding import RowRange, cut_rows

OPTIONS = EVERY_OPTION
FILE_PATTERNS = ("*.parquet",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParquetShard:
  """Some consecutive rows, of one file or over the border of several.

  Attributes:
    ranges: the rows.
    folder: what the paths of all files of the source begin with.
    options: how they are read.
  """

  ranges: tuple[RowRange, ...]
  folder: str
  options: SourceOptions

  @property
  def paths(self) -> tuple[str, ...]:
    """The files that the rows are in."""
    return tuple(dict.fromkeys(part.path for part in self.ranges))

  def entries(self) -> Iterator[Good | Bad]:
    """Reads the rows and decodes their audio; the position is the row in its file, from 0."""
    total = sum(part.count for part in self.ranges)
    read = 0
    for part in self.ranges:
      name = part.path.removeprefix(self.folder)
      for row, item in enumerate(_read_range(part, name, self.options), part.first):
        read += 1
        place: dict[str, Any] = {"file": part.path, "position": row, "done": read / total}
        if isinstance(item, RecordError):
          yield Bad(**place, sample_id=item.sample_id, reason=str(item))
        else:
          record, is_named = item
          yield Good(**place, record=record, fallback_id="" if is_named else f"{name}:{row}")


def open_files(paths: list[str], options: SourceOptions) -> list[ParquetShard]:
  """Cuts files into shards, from their footers alone.

  A file that cannot be opened counts as one record, a bad one.

  Raises:
    ValueError: no rows, or fewer than `options.shards`.
  """
  files = []
  for path in paths:
    try:
      with (
        storage.open_read(path) as file,
        open_parquet(file, storage.size_of(path)) as parquet,
      ):
        files.append((path, parquet.num_rows))
    except BrokenFileError:
      files.append((path, 1))
  folder = shared_folder(paths)
  shards = [
    ParquetShard(ranges=tuple(part), folder=folder, options=options)
    for part in cut_rows(files, options)
  ]
  if not shards:
    raise ValueError(f"{paths[0]}: no rows in it and in {len(paths) - 1} other parquet files")
  return shards


def _read_range(
  part: RowRange, name: str, options: SourceOptions
) -> Iterator[tuple[Record, bool] | RecordError]:
  with contextlib.ExitStack() as stack:
    file = stack.enter_context(storage.open_read(part.path))
    try:
      parquet = stack.enter_context(open_parquet(file, storage.size_of(part.path)))
      columns = Columns.choose(parquet.schema, options)
    except (BrokenFileError, RecordError) as error:
      for _ in range(part.count):
        yield RecordError(str(error))
      return
    rows = parquet.read_rows(columns.leaves, part.first, part.count)
    for row, values in enumerate(rows, part.first):
      if isinstance(values, str):
        yield RecordError(values)
        continue
      try:
        yield columns.read(values, part.path, f"{name}:{row}", options)
      except RecordError as error:
        yield error
