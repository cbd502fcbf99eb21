"""Formats that `data convert` reads; the module of each is imported on first use."""

import dataclasses
import importlib
from collections.abc import Callable, Sequence

from maxtext_ext.sources.entry import InputShard
from maxtext_ext.sources.options import SourceOptions
from maxtext_ext.sources.splits import find_own_files

AUTO = "auto"
SOURCES = {
  "tfrecord": "maxtext_ext.sources.tfrecord",
  "jsonl": "maxtext_ext.sources.jsonl",
  "csv": "maxtext_ext.sources.csv_table",
  "audiofolder": "maxtext_ext.sources.audiofolder",
  "kaldi": "maxtext_ext.sources.kaldi",
  "lhotse": "maxtext_ext.sources.lhotse",
  "shar": "maxtext_ext.sources.shar",
  "nemo": "maxtext_ext.sources.nemo",
  "tfds": "maxtext_ext.sources.tfds",
  "arrow": "maxtext_ext.sources.arrow",
  "parquet": "maxtext_ext.sources.parquet",
  "tar": "maxtext_ext.sources.tar",
  "librispeech": "maxtext_ext.sources.librispeech",
  "gigaspeech": "maxtext_ext.sources.gigaspeech",
  "huggingface": "maxtext_ext.sources.huggingface",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
  """A format, as its module has it.

  Attributes:
    name: its key in SOURCES.
    reads: fields of SourceOptions that count; others are refused. OPTIONS of the module.
    find_files: all files that the result depends on, in the order of the records, of what the user
      named and the only split that is converted, or None. A function of the module, or else what
      `find_own_files` makes of its FILE_PATTERNS.
    open_files: divides these files among shards; a ValueError where there is no record.
  """

  name: str
  reads: frozenset[str]
  find_files: Callable[[str, str | None], list[str]]
  open_files: Callable[[list[str], SourceOptions], Sequence[InputShard]]


def load_format(name: str) -> Format:
  """Imports the module of a format."""
  module = importlib.import_module(SOURCES[name])

  def find_files(source: str, split: str | None) -> list[str]:
    return find_own_files(source, module.FILE_PATTERNS, split)

  return Format(
    name=name,
    reads=module.OPTIONS,
    find_files=getattr(module, "find_files", find_files),
    open_files=module.open_files,
  )
