"""Manifests: text rows that name a sound file and its transcript.

A format is a `RowReader`, which parses lines into rows; this module reads the audio they name.
"""

import contextlib
import dataclasses
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from maxtext_ext.audio.limits import AudioError
from maxtext_ext.files import storage
from maxtext_ext.records.schema import Record, RecordError
from maxtext_ext.sources.clip import Clip, clip_of
from maxtext_ext.sources.dataset_files import shared_folder
from maxtext_ext.sources.entry import Bad, Good
from maxtext_ext.sources.fields import Fields, choose_names, read_fields, read_id, value_of
from maxtext_ext.sources.lines import Line, LineRange, Scan, cut_lines, read_lines
from maxtext_ext.sources.named_files import note_version
from maxtext_ext.sources.options import SourceOptions

_OTHER_PARTS = frozenset({("start", "end"), ("begin", "end"), ("start_time", "end_time")})
_MOST = 0.8  # of the file: what is shorter is a part of it
_warned: set[tuple[str, str]] = set()
_LOGGER = logging.getLogger(__name__)
_BATCH, _BATCH_BYTES = 4_096, 4 << 20  # lines, and their bytes


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Row:
  """A row of a manifest.

  Attributes:
    values: fields of the clip, under the usual names, see `fields`.
    clip: its audio; None: it is in `values` too.
  """

  values: Mapping[str, Any]
  clip: Clip | None = None


@runtime_checkable
class RowReader(Protocol):
  """Format of rows: small, can be pickled, and its repr determines the result."""

  def rows(self, part: LineRange) -> Iterator[tuple[int, Row | RecordError]]:
    """Yields the line number of each row, and the row or why it cannot be read."""
    ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowShard:
  """Some consecutive rows, of one file or over the border of several.

  Attributes:
    parts: the rows.
    folder: what the paths of all files of the source begin with.
    beside: further files that rows refer to.
    reader: their format.
    options: how they are read.
  """

  parts: tuple[LineRange, ...]
  folder: str
  beside: tuple[str, ...]
  reader: RowReader
  options: SourceOptions

  def identity(self, versions: Mapping[str, str]) -> list[Any]:
    """The rows themselves: a corrected one concerns no other shard, wherever it moves them."""
    rows = [[part.path, part.digest] for part in self.parts]
    return [rows, self.folder, [[path, versions[path]] for path in self.beside]]

  def entries(self) -> Iterator[Good | Bad]:
    """Reads the rows and decodes the audio that they name; the position is the line, from 1."""
    total = sum(part.count for part in self.parts)
    read = 0
    for part in self.parts:
      folder, name = os.path.split(part.path)
      # What tells clips of the same relative path in two folders apart.
      prefix = f"{folder}/".removeprefix(self.folder) if folder else ""
      for line, row in self.reader.rows(part):
        read += 1
        place: dict[str, Any] = {"file": part.path, "position": line, "done": read / total}
        try:
          if isinstance(row, RecordError):
            raise row
          record = read_row(
            row, folder, self.options, prefix=prefix, default_id=f"{prefix}{name}:{line}"
          )
        except RecordError as error:
          yield Bad(**place, sample_id=error.sample_id, reason=str(error))
        else:
          yield Good(**place, record=record)


def open_rows(
  paths: list[str],
  reader: RowReader,
  options: SourceOptions,
  scan: Scan = read_lines,
  beside: Sequence[str] = (),
) -> list[RowShard]:
  """Divides the rows of files among shards.

  Args:
    paths: the manifests.
    reader: their format.
    options: how they are read.
    scan: finds the rows of a file.
    beside: further files that rows refer to.

  Raises:
    ValueError: no rows, or fewer than `options.shards`.
  """
  folder = shared_folder(paths)
  shards = [
    RowShard(parts=parts, folder=folder, beside=tuple(beside), reader=reader, options=options)
    for parts in cut_lines(paths, options, scan)
  ]
  if not shards:
    raise ValueError(
      f"{paths[0]}: no lines in it and in {len(paths) - 1} other files, expected one a recording"
    )
  return shards


def fields_of(row: Row, options: SourceOptions, default_id: str) -> Fields:
  """Reads the fields of a row whose text may be missing, without its audio.

  Raises:
    RecordError: a value is of another type.
  """
  names = choose_names(row.values, options)
  default_id = _default_id(row, names, "") or default_id
  return read_fields(row.values, names, default_id, options, text_required=False)


def parse_row(
  row: Row,
  options: SourceOptions,
  *,
  prefix: str = "",
  default_id: str = "",
  text_required: bool = True,
) -> tuple[Fields, Clip]:
  """Reads the fields of a row, and which audio it names.

  Args:
    row: see there.
    options: names of keys, and defaults for values that rows lack.
    prefix: of ids that are made of relative paths.
    default_id: of rows that have neither an id nor a path.
    text_required: see `read_fields`.

  Raises:
    RecordError: anything is wrong with them.
  """
  names = choose_names(row.values, options)
  sample_id = read_id(row.values, names, _default_id(row, names, prefix) or default_id)
  try:
    clip = row.clip or _clip_of_values(row.values, names, options)
    if options.id_key and options.id_key not in row.values:
      raise RecordError(f"no '{options.id_key}', which --id-key names; check the name")
    fields = read_fields(row.values, names, sample_id, options, text_required=text_required)
  except (RecordError, AudioError) as error:
    raise RecordError(str(error), sample_id) from error
  return fields, clip


def read_row(
  row: Row,
  folder: str,
  options: SourceOptions,
  *,
  prefix: str = "",
  default_id: str = "",
  text_required: bool = True,
) -> Record:
  """Reads a row and its audio.

  Args:
    folder: what a relative audio path starts from.
    row, options, prefix, default_id, text_required: see `parse_row`.

  Raises:
    RecordError: anything is wrong with either.
  """
  fields, clip = parse_row(
    row, options, prefix=prefix, default_id=default_id, text_required=text_required
  )
  try:
    record = fields.with_audio(clip.load(folder, allow_urls=options.allow_urls))
  except AudioError as error:
    raise RecordError(str(error), fields.sample_id) from error
  if row.clip is None and "offset" not in row.values:
    _warn_of_other_part(row.values, record)
  return record


def _warn_of_other_part(values: Mapping[str, Any], record: Record) -> None:
  """Warns once of a part of the file under names that are not read.

  Where clips were cut out before, as long as these say, they are the place in another file.
  """
  for names in _OTHER_PARTS - _warned:
    start, end = (_seconds(values.get(name)) for name in names)
    if not (_is_number(start) and _is_number(end)):
      continue
    if 0 <= start < end <= record.seconds + 1 and end - start < _MOST * record.seconds:
      _warned.add(names)
      _LOGGER.warning(
        "%s: its text gets the %.1f s of the whole file: '%s' and '%s' are not read; call a part "
        "of the file 'offset' and 'duration'",
        record.sample_id,
        record.seconds,
        *names,
      )


def batched(lines: Iterable[Line]) -> Iterator[list[Line]]:
  """Some thousand lines at a time, for which other files are searched together."""
  batch: list[Line] = []
  size = 0
  for line in lines:
    batch.append(line)
    size += len(line.content)
    if len(batch) == _BATCH or size > _BATCH_BYTES:
      yield batch
      batch, size = [], 0
  if batch:
    yield batch


def from_working_folder(path: str, folder: str) -> str:
  """Resolves a relative path of tools that run in the folder of an experiment.

  Args:
    path: of a sound file, relative to the manifest, to the working folder, or neither.
    folder: of the manifest.

  Returns:
    The path; absolute where the file is found from the working folder on only.
  """
  if os.path.isabs(path) or "://" in path or storage.is_url(folder):
    return path
  if os.path.exists(os.path.join(folder, path)):
    return path
  # Which of them is there decides, also the next time.
  note_version(os.path.join(folder, path))
  note_version(os.path.abspath(path))
  return os.path.abspath(path) if os.path.exists(path) else path


def _clip_of_values(
  values: Mapping[str, Any], names: Mapping[str, str], options: SourceOptions
) -> Clip:
  value = value_of(values, names, "audio")
  if value is None or value == "":
    raise RecordError(f"no '{options.audio_key or 'audio'}': expected the path of an audio file")
  is_list = isinstance(value, list) and not (value and isinstance(value[0], str))
  if not (is_list or isinstance(value, str | dict)):
    raise RecordError(f"'{names['audio']}' is {value!r:.60}, expected a string")
  rate = values.get("sampling_rate", values.get("sample_rate"))
  return dataclasses.replace(clip_of(value, rate), **part_of(values))


def part_of(values: Mapping[str, Any]) -> dict[str, Any]:
  """The part of a sound file that `offset` and `duration` ask for, as `read_audio` takes it.

  A duration alone is the length of the file, mostly; where it is less, the part from the beginning,
  as in NeMo.

  Raises:
    RecordError: one of them is no number.
  """
  explicit = {
    name: _seconds(values[name]) for name in ("offset", "duration") if values.get(name) is not None
  }
  if explicit.get("duration") == 0:
    del explicit["duration"]  # not known
  if "offset" not in explicit:
    length = explicit.get("duration", 0)
    return {"declared": float(length)} if _is_number(length) and length > 0 else {}
  for name, value in explicit.items():
    if not _is_number(value):
      raise RecordError(f"'{name}' is {value!r:.60}, expected a number of seconds")
  return {name: float(value) for name, value in explicit.items()}


def _default_id(row: Row, names: Mapping[str, str], prefix: str) -> str:
  """The path and, of a part, the seconds as in a URL (W3C, Media Fragments)."""
  path = row.clip.path if row.clip else value_of(row.values, names, "audio")
  if isinstance(path, Mapping):
    path = path.get("path")
  if not isinstance(path, str) or not path:
    return ""
  name = storage.join(prefix, path)
  offset, duration = (_seconds(row.values.get(name)) for name in ("offset", "duration"))
  if _is_number(offset):
    name = f"{name}#t={offset}"
    if duration and _is_number(duration):
      name = f"{name},{round(offset + duration, 6)}"
  return name


def _seconds(value: Any) -> Any:
  """Converts a number written as text, "2.5"; returns anything else unchanged."""
  if isinstance(value, str):
    with contextlib.suppress(ValueError):
      return float(value)
  return value


def _is_number(value: object) -> bool:
  is_number = isinstance(value, int | float) and not isinstance(value, bool)
  return isinstance(value, int | float) and is_number and abs(value) < 1e9
