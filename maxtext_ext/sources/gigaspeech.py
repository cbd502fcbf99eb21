"""GigaSpeech's archives on the Hugging Face Hub: chunks of clips, with a table beside each.

SOURCE is `FOLDER:xs#train`, a copy of the repository, of its folder data or of the same layout:

    audio/xs_files/xs_chunks_0000.tar.gz, with xs_chunks_0000/POD0000000001_S0000008.wav
    metadata/xs_metadata/xs_chunks_0000_metadata.csv, columns sid, speaker, text_tn and others

A subset holds the smaller ones: `m` is the chunks of xs, of s_files_additional and of
m_files_additional. Splits are train, validation (dev) and test. Source: gigaspeech.py, the loading
script of speechcolab/gigaspeech.
"""

import csv
import dataclasses
import io
import os
import re
from collections.abc import Iterator
from typing import Any, cast

from maxtext_ext.audio.io import read_audio
from maxtext_ext.audio.limits import AudioError
from maxtext_ext.files import storage
from maxtext_ext.records.schema import Record, RecordError
from maxtext_ext.sources.entry import Bad, Good
from maxtext_ext.sources.fields import read_fields
from maxtext_ext.sources.huggingface import DatasetSource
from maxtext_ext.sources.options import SourceOptions
from maxtext_ext.sources.sharding import group_files
from maxtext_ext.sources.splits import canonical_split
from maxtext_ext.sources.tar import MAX_AUDIO
from maxtext_ext.sources.tar_members import Damage, Member, read_members

OPTIONS = frozenset(("shards", "language", "dataset_name"))
SUBSETS = ("xs", "s", "m", "l", "xl")  # each holds those before it
_OF_SPLIT = {"validation": ("dev",), "test": ("test",)}
_CHUNK = re.compile(r"(.*)/audio/(\w+?)_files(_additional)?/(\w+)\.tar(?:\.gz)?")
_FIELDS = {"id": "sid", "text": "text_tn", "speaker": "speaker"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class GigaSpeechShard:
  """Chunks in a row.

  Attributes:
    chunks: the archives.
    tables: the table of each.
    options: language and data set of their records.
  """

  chunks: tuple[str, ...]
  tables: tuple[str, ...]
  options: SourceOptions

  @property
  def paths(self) -> tuple[str, ...]:
    """All files that it reads."""
    return self.chunks + self.tables

  def entries(self) -> Iterator[Good | Bad]:
    """Reads the clips; the position is the clip's in its archive, or its row in the table."""
    for index, (chunk, table) in enumerate(zip(self.chunks, self.tables, strict=True)):
      size = max(1, storage.size_of(chunk))
      with storage.open_read(chunk) as file:
        for entry in self._of_chunk(cast(Any, file), chunk, table):
          done = (index + min(1.0, file.tell() / size)) / len(self.chunks)
          yield dataclasses.replace(entry, done=done)

  def _of_chunk(self, file: io.BufferedIOBase, chunk: str, table: str) -> Iterator[Good | Bad]:
    rows, problem = _read_table(table)
    damage = ""
    for position, member in enumerate(read_members(file, _limit_of)):
      if isinstance(member, Damage):
        damage = f"{os.path.basename(chunk)}: {member.reason}; copy the file again"
        yield Bad(file=chunk, position=position, done=0.0, sample_id="", reason=damage)
        break
      name = os.path.splitext(os.path.basename(member.name))[0]
      row = rows.pop(name, None)
      place: dict[str, Any] = {"file": chunk, "position": position, "done": 0.0}
      try:
        if row is None:
          missing = f"{os.path.basename(table)} has no row of it; copy the table again"
          raise RecordError(problem or missing)
        yield Good(**place, record=self._record(row, name, member))
      except RecordError as error:
        yield Bad(**place, sample_id=error.sample_id or name, reason=str(error))
      finally:
        if member.content is not None:
          member.content.close()
    reason = damage or f"{os.path.basename(chunk)} has no such clip; copy the file again"
    for number, name in enumerate(rows):
      yield Bad(file=table, position=number, done=0.0, sample_id=name, reason=reason)

  def _record(self, row: dict[str, Any], name: str, member: Member) -> Record:
    names = {field: column for field, column in _FIELDS.items() if column in row}
    fields = read_fields(row, names, name, self.options)
    if member.content is None:
      raise RecordError(f"'{os.path.basename(member.name)}' {member.problem}")
    try:
      return fields.with_audio(read_audio(member.content))
    except AudioError as error:
      raise RecordError(str(error), name) from error


def find_files(source: str, split: str | None) -> list[str]:
  """The archives of a split of a subset, and behind them their tables.

  Args:
    source: `FOLDER:subset#split`.
    split: of a source that does not name its own; None: train.

  Raises:
    ValueError: the subset has another name, or files are missing.
  """
  place = DatasetSource.parse(source)
  wanted = canonical_split(place.split or split or "train")
  if place.config not in SUBSETS:
    raise ValueError(f"{source}: subset is {place.config}, expected one of {list(SUBSETS)}")
  parts = _OF_SPLIT.get(wanted) or SUBSETS[: SUBSETS.index(place.config) + 1]
  chunks = [path for part in parts for path in _find_chunks(place.base, part)]
  tables = [table_of(path) for path in chunks]
  if missing := [path for path in tables if not storage.is_file(path)]:
    raise ValueError(
      f"{missing[0]}: not there, and {len(missing)} of {len(tables)} tables are missing; copy the "
      "folder metadata beside audio"
    )
  return chunks + tables


def open_files(files: list[str], options: SourceOptions) -> list[GigaSpeechShard]:
  """A shard for each archive, or `options.shards` of them all.

  Raises:
    ValueError: fewer archives than `options.shards`.
  """
  chunks = [path for path in files if _CHUNK.fullmatch(path)]
  return [
    GigaSpeechShard(chunks=group, tables=tuple(map(table_of, group)), options=options)
    for group in group_files(chunks, options.shards)
  ]


def table_of(chunk: str) -> str:
  """Returns the path of the table of an archive."""
  match = _CHUNK.fullmatch(chunk)
  assert match, chunk
  folder, part, additional, name = match.groups(default="")
  return f"{folder}/metadata/{part}_metadata{additional}/{name}_metadata.csv"


def _find_chunks(folder: str, part: str) -> list[str]:
  folder = folder.rstrip("/")
  additional = "" if part in ("xs", "dev", "test") else "_additional"
  for root in (f"{folder}/data", folder):
    if found := storage.find_below(root, f"audio/{part}_files{additional}/{part}_chunks_*.tar*"):
      return sorted(found)
  raise ValueError(
    f"{folder}: no archives data/audio/{part}_files{additional}/{part}_chunks_*.tar.gz in it; "
    "download them, or choose a smaller subset"
  )


def _limit_of(path: str) -> int | None:
  name = os.path.basename(path)
  return MAX_AUDIO if name.endswith(".wav") and not name.startswith("._") else None


def _read_table(path: str) -> tuple[dict[str, dict[str, Any]], str]:
  """Returns the rows of a table by id, and why the rest of it cannot be read, if so."""
  rows: dict[str, dict[str, Any]] = {}
  with io.TextIOWrapper(cast(Any, storage.open_read(path)), "utf-8", newline="") as file:
    try:
      reader = csv.DictReader(file)
      columns = reader.fieldnames or ()
      if missing := [name for name in ("sid", "text_tn") if name not in columns]:
        return {}, f"{os.path.basename(path)} has no column {missing[0]}; copy the table again"
      for row in reader:
        rows[row["sid"] or ""] = {name: value for name, value in row.items() if name}
    except (csv.Error, UnicodeDecodeError) as error:
      return rows, f"{os.path.basename(path)} cannot be read ({error}); copy the table again"
  return rows, ""
