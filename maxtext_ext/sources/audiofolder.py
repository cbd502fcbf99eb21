"""AudioFolder datasets: sound files beside metadata.jsonl, metadata.csv or metadata.parquet.

`file_name` is the path of the sound file relative to the metadata file. Each split is a folder with
its own metadata: train/metadata.csv, data/test/metadata.csv.
"""

import os
from collections.abc import Callable, Sequence

from maxtext_ext.files import storage
from maxtext_ext.sources import csv_table, jsonl, parquet
from maxtext_ext.sources.entry import InputShard
from maxtext_ext.sources.options import EVERY_OPTION, SourceOptions
from maxtext_ext.sources.splits import choose_folder

OPTIONS = EVERY_OPTION
_READERS: dict[str, Callable[[list[str], SourceOptions], Sequence[InputShard]]] = {
  ".jsonl": jsonl.open_files,
  ".csv": csv_table.open_files,
  ".parquet": parquet.open_files,
}
METADATA = tuple(f"metadata{suffix}" for suffix in _READERS)


def find_files(source: str, split: str | None) -> list[str]:
  """The metadata files of a split.

  Raises:
    ValueError: there are none, or only those of other splits.
  """
  if storage.is_file(source):
    return [source]
  for pattern in ("*/", "*/*/", ""):
    found = [path for name in METADATA for path in storage.find_below(source, pattern + name)]
    if found:
      return choose_folder(source, sorted(found), split)
  raise ValueError(
    f"{source}: no metadata file found, expected one of {', '.join(METADATA)} beside the sound "
    "files or in a folder for each split; write one with the columns file_name and text"
  )


def open_files(files: list[str], options: SourceOptions) -> Sequence[InputShard]:
  """Divides the rows of metadata files among shards.

  Raises:
    ValueError: files of two kinds, without rows, or without a column that is needed.
  """
  kinds = {os.path.splitext(path)[1] for path in files}
  if len(kinds) > 1 or not kinds.issubset(_READERS):
    raise ValueError(
      f"{', '.join(files)}: expected metadata of one kind, {' or '.join(METADATA)}; keep one"
    )
  return _READERS[kinds.pop()](files, options)
