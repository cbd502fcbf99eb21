"""Arrow files that Hugging Face datasets writes: save_to_disk folders and cache files.

The folder of one split has a state.json that lists its files in order; a dataset_dict.json stands
beside the folders of several splits. In other folders every Arrow file is read. The columns are
those of parquet. Shards are cut at rows; to find them, a remote file is read once in full.
"""

import contextlib
import dataclasses
import itertools
import json
import os
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from maxtext_ext.files import storage
from maxtext_ext.records.schema import RecordError
from maxtext_ext.sources.columns import Columns, check_column, column_of, row_of
from maxtext_ext.sources.dataset_files import shared_folder
from maxtext_ext.sources.entry import Bad, Good
from maxtext_ext.sources.options import EVERY_OPTION, SourceOptions
from maxtext_ext.sources.sharding import cut_rows
from maxtext_ext.sources.splits import choose_folder, find_own_files

OPTIONS = EVERY_OPTION
FILE_PATTERNS = ("*.arrow",)
_STATE, _SPLITS = "state.json", "dataset_dict.json"
_CACHED = "cache-"  # what `map` and `filter` have left beside the data set
_FILE_MAGIC = b"ARROW1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
  """A record batch, or the end of a file that is damaged.

  Attributes:
    path: of its file.
    place: byte at which it starts, or in a file of the other kind its number.
    row: number of its first row in the file.
    rows: how many.
    problem: why it and all later batches cannot be read.
  """

  path: str
  place: int
  row: int
  rows: int
  problem: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
  """Some consecutive rows of a batch."""

  batch: Batch
  first: int
  count: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArrowShard:
  """Some consecutive rows, of one batch or over the border of several.

  Attributes:
    parts: the rows.
    folder: what the paths of all files of the source begin with.
    options: how they are read.
  """

  parts: tuple[Part, ...]
  folder: str
  options: SourceOptions

  @property
  def paths(self) -> tuple[str, ...]:
    """The files that the rows are in."""
    return tuple(dict.fromkeys(part.batch.path for part in self.parts))

  def entries(self) -> Iterator[Good | Bad]:
    """Reads the rows and decodes their audio; the position is the row in its file, from 0."""
    total = sum(part.count for part in self.parts)
    read = 0
    for path, parts in itertools.groupby(self.parts, key=lambda part: part.batch.path):
      name = path.removeprefix(self.folder)
      with contextlib.ExitStack() as stack:
        file = None
        for part in parts:
          if file is None and not part.batch.problem:
            file = stack.enter_context(_opened(path))
          for row, values in self._rows(file, part):
            read += 1
            place = {"file": path, "position": row, "done": read / total}
            try:
              if isinstance(values, RecordError):
                raise values
              columns, cells = values
              record, is_named = columns.read(cells, path, f"{name}:{row}", self.options)
            except RecordError as error:
              yield Bad(**place, sample_id=error.sample_id, reason=str(error))
            else:
              yield Good(**place, record=record, fallback_id="" if is_named else f"{name}:{row}")

  def _rows(
    self, file: "_File | None", part: Part
  ) -> Iterator[tuple[int, tuple[Columns, dict[str, Any]] | RecordError]]:
    first = part.batch.row + part.first
    try:
      if file is None or part.batch.problem:
        raise RecordError(part.batch.problem)
      columns = Columns.choose(file.schema, self.options)
      batch = file.read(part.batch)
      arrays = {leaf: check_column(column_of(batch, leaf)) for leaf in columns.leaves}
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
      reason = RecordError(_damage(error))
    except RecordError as error:
      reason = error
    else:
      for index in range(part.first, part.first + part.count):
        values = row_of(arrays, index)
        yield (
          part.batch.row + index,
          RecordError(values) if isinstance(values, str) else (columns, values),
        )
      return
    for row in range(first, first + part.count):
      yield row, reason


def find_files(source: str, split: str | None) -> list[str]:
  """The Arrow files of a split.

  Raises:
    ValueError: there are none, one that state.json names is missing, or its rows are chosen by
      indices.
  """
  if not storage.exists(source) or storage.is_file(source):
    return storage.find_files(source, *FILE_PATTERNS)
  if storage.is_file(storage.join(source, _SPLITS)):
    states = choose_folder(source, storage.find_below(source, f"*/{_STATE}"), split)
  else:
    states = [path for path in [storage.join(source, _STATE)] if storage.is_file(path)]
  if states:
    return [path for state in states for path in _files_of(state)]
  files = find_own_files(source, FILE_PATTERNS, split)
  return [path for path in files if not os.path.basename(path).startswith(_CACHED)] or files


def open_files(files: list[str], options: SourceOptions) -> list[ArrowShard]:
  """Cuts files into shards by their rows; one that cannot be opened counts as one bad record.

  Raises:
    ValueError: no rows, or fewer than `options.shards`.
  """
  batches = [batch for path in files for batch in _batches_of(path)]
  ranges = cut_rows([(str(index), batch.rows) for index, batch in enumerate(batches)], options)
  if not ranges:
    raise ValueError(f"{files[0]}: no rows in it and in {len(files) - 1} other Arrow files")
  folder = shared_folder(files)
  return [
    ArrowShard(
      parts=tuple(
        Part(batch=batches[int(each.path)], first=each.first, count=each.count) for each in shard
      ),
      folder=folder,
      options=options,
    )
    for shard in ranges
  ]


def _files_of(state: str) -> list[str]:
  """Lists the files that a state.json names."""
  folder = os.path.dirname(state)
  try:
    content = json.loads(storage.read_bytes(state))
    names = [entry["filename"] for entry in content["_data_files"]]
    paths = [storage.join(folder, os.path.basename(name)) for name in names]
  except (ValueError, RecursionError, KeyError, TypeError) as error:
    raise ValueError(
      f"{state}: expected '_data_files' with a 'filename' each, as save_to_disk writes it "
      f"({error!r:.100}); save the data set again"
    ) from error
  if content.get("_indices_data_files") or content.get("_indices_files"):
    raise ValueError(f"{state}: its rows are chosen by indices; call flatten_indices and save it")
  for path in paths:
    if not storage.is_file(path):
      raise ValueError(f"{path}: no such file, which {_STATE} names; copy the whole folder")
  return paths


class _File:
  """Open Arrow file, a stream or a file with a footer."""

  def __init__(self, source: pa.NativeFile) -> None:
    self._source = source
    self._reader = None
    is_file = source.read(len(_FILE_MAGIC)) == _FILE_MAGIC
    source.seek(0)
    if is_file:
      self._reader = pa.ipc.open_file(source)
    self.schema = self._reader.schema if self._reader else pa.ipc.read_schema(source)
    if not is_file and any(pa.types.is_dictionary(field.type) for field in self.schema):
      raise pa.ArrowInvalid("a stream with dictionaries; save it as parquet")

  def batches(self) -> Iterator[tuple[int, int]]:
    """Yields place and number of rows of each batch.

    Raises:
      pa.ArrowException, OSError: from there on it cannot be read.
    """
    if self._reader:
      for number in range(self._reader.num_record_batches):
        yield number, self._reader.get_batch(number).num_rows
      return
    while True:
      place = self._source.tell()
      try:
        message = pa.ipc.read_message(self._source)
      except EOFError:
        return
      yield place, pa.ipc.read_record_batch(message, self.schema).num_rows

  def read(self, batch: Batch) -> pa.RecordBatch:
    """Reads a batch.

    Raises:
      pa.ArrowException, OSError, EOFError: it cannot be read.
    """
    if self._reader:
      return self._reader.get_batch(batch.place)
    self._source.seek(batch.place)
    return pa.ipc.read_record_batch(pa.ipc.read_message(self._source), self.schema)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[_File]:
  """Opens a file; a local one is memory-mapped, so that only accessed parts are read."""
  if storage.is_url(path):
    with storage.open_read(path) as file:
      yield _File(pa.PythonFile(file, "r"))
  else:
    with pa.memory_map(path) as source:
      yield _File(source)


def _batches_of(path: str) -> list[Batch]:
  batches: list[Batch] = []
  row = 0
  try:
    with _opened(path) as file:
      for place, rows in file.batches():
        batches.append(Batch(path=path, place=place, row=row, rows=rows))
        row += rows
  except (pa.ArrowException, OSError, EOFError) as error:
    if isinstance(error, OSError) and error.errno is not None:
      raise
    batches.append(Batch(path=path, place=-1, row=row, rows=1, problem=_damage(error)))
  return batches


def _damage(error: Exception) -> str:
  text = str(error).strip().split("\n")[0][:200]
  return f"not a whole Arrow file ({text}); copy it again"
