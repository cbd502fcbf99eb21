"""Data sets of a benchmark: ArrayRecord shards, or any source that `data convert` reads."""

import dataclasses
import hashlib
import heapq
import os
from collections.abc import Generator, Iterable, Iterator, Sequence

from maxtext_ext.files import storage
from maxtext_ext.records.manifest import SHARD_SUFFIX, list_shards
from maxtext_ext.records.reader import RecordSource, find_shards
from maxtext_ext.records.schema import Record, RecordError, decode_example
from maxtext_ext.sources.detect import detect_format
from maxtext_ext.sources.entry import Bad, Good, InputShard
from maxtext_ext.sources.formats import AUTO, load_format
from maxtext_ext.sources.options import SourceOptions, flag_of, refuse_others
from maxtext_ext.text.languages import NO_LANGUAGE, language_name

Key = tuple[str, str]  # data set and id


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions:
  """Options of all data sets of a benchmark.

  Attributes:
    split: in a folder, selects the shards or files named after it.
    source_format: a name of SOURCES, or "auto".
    audio_key, text_key, id_key: as of `SourceOptions`.
    language: of records that do not state theirs, a code or a name.
  """

  split: str = "test"
  source_format: str = AUTO
  audio_key: str | None = None
  text_key: str | None = None
  id_key: str | None = None
  language: str | None = None

  def of_source(self) -> SourceOptions:
    """Returns those that a source reads."""
    return SourceOptions(audio_key=self.audio_key, text_key=self.text_key, id_key=self.id_key)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSet:
  """An open data set.

  Attributes:
    name: for records that do not state theirs.
    path: as the user gave it.
    version: differs when its files do.
    language: of records that do not state theirs.
    shards: readers of its records, in order.
  """

  name: str
  path: str
  version: str
  language: str | None
  shards: Sequence[InputShard]

  def clips(self, seen: set[Key], left_out: list[str]) -> Generator[Record, None, None]:
    """Yields its records in order, each with a key of its own.

    Args:
      seen: keys of the records before; gets those of its own.
      left_out: gets a line for each record that cannot be used, with the reason.
    """
    for shard in self.shards:
      for entry in shard.entries():
        if isinstance(entry, Bad):
          left_out.append(f"{entry.file}:{entry.position}: {entry.reason}")
          continue
        record = entry.record
        dataset, name = record.dataset_name or self.name, record.sample_id
        if (dataset, name) in seen and entry.fallback_id:
          name = entry.fallback_id
        if (dataset, name) in seen:
          left_out.append(f"{entry.file}:{entry.position}: id {name!r} occurred before")
          continue
        seen.add((dataset, name))
        yield dataclasses.replace(
          record,
          sample_id=name,
          dataset_name=dataset,
          language=record.language or self.language,
        )


def sample(clips: Iterable[Record], count: int, seed: int) -> list[Record]:
  """Draws a random sample, which does not depend on the order of the clips.

  A larger sample of the same seed has the clips of a smaller one. All clips are read, and as many
  as are drawn held in memory.
  """

  def draw(clip: Record) -> bytes:
    name = f"{seed}\0{clip.dataset_name}\0{clip.sample_id}"
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()

  return heapq.nsmallest(count, clips, key=draw)


@dataclasses.dataclass(frozen=True)
class ArrayRecordShard:
  """Records of an ArrayRecord file."""

  path: str

  def entries(self) -> Iterator[Good | Bad]:
    """Reads them in order; the position is the record, from 0."""
    source = RecordSource([self.path])
    for position in range(len(source)):
      done = (position + 1) / len(source)
      try:
        record = decode_example(source[position])
      except RecordError as error:
        yield Bad(
          file=self.path,
          position=position,
          done=done,
          sample_id=error.sample_id,
          reason=str(error),
        )
      else:
        yield Good(file=self.path, position=position, done=done, record=record)


def open_data(paths: Sequence[str], options: DataOptions) -> list[DataSet]:
  """Opens data sets: folders or files of records, or sources in a format of SOURCES.

  Raises:
    ValueError: nothing is there, of no known format, an option does not apply to it, or two data
      sets would have the same name.
  """
  language = None if options.language is None else language_name(options.language)
  opened: list[DataSet] = []
  for path in paths:
    files, shards = _open(path, options)
    name = os.path.basename(path.rstrip("/")).partition(".")[0] or path
    if clash := [each.path for each in opened if each.name == name]:
      raise ValueError(f"{clash[0]} and {path} are both named {name}; rename one, or link to it")
    opened.append(
      DataSet(
        name=name,
        path=path,
        version=_version_of(files),
        language=None if language == NO_LANGUAGE else language,
        shards=shards,
      )
    )
  return opened


def _open(path: str, options: DataOptions) -> tuple[list[str], Sequence[InputShard]]:
  """Returns the files of a data set, and readers of its records."""
  of_source = options.of_source()
  if options.source_format == AUTO and (files := _find_records(path, options.split)):
    if named := of_source.named():
      flags = " ".join(map(flag_of, named))
      raise ValueError(f"{flags}: {path} holds records, whose names are known; leave it out")
    return files, [ArrayRecordShard(file) for file in files]
  name = detect_format(path) if options.source_format == AUTO else options.source_format
  source = load_format(name)
  refuse_others(name, of_source.named(), source.reads)
  files = source.find_files(path, options.split)
  return files, source.open_files(files, dataclasses.replace(of_source, allow_empty_text=True))


def _find_records(path: str, split: str) -> list[str]:
  """Returns the ArrayRecord files of a split, or the file itself; none for other data."""
  if path.endswith(SHARD_SUFFIX) and storage.is_file(path):
    return [path]
  if list_shards(path) or list_shards(storage.join(path, split)):
    return find_shards(path, split)
  return []


def _version_of(files: Sequence[str]) -> str:
  pairs = sorted(zip(files, storage.versions(files), strict=True))
  return hashlib.sha256(repr(pairs).encode()).hexdigest()[:16]
