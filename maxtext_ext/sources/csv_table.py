"""CSV and TSV files with a header, whose rows name sound files.

Columns are found by their usual names, see `fields`; `offset` and `duration` work as in JSONL.
Common Voice tables (client_id, path, sentence) need no changes: their quotes are ordinary
characters and their sound files are in clips/. In all other tables fields may be quoted.
"""

import csv
import dataclasses
import io
import itertools
from collections.abc import Iterator
from typing import Any

from maxtext_ext.files.compressed import SUFFIXES
from maxtext_ext.records.schema import RecordError
from maxtext_ext.sources.clip import Clip
from maxtext_ext.sources.fields import USUAL_NAMES, choose_names, value_of
from maxtext_ext.sources.lines import Line, LineRange, read_lines, scan_lines
from maxtext_ext.sources.options import EVERY_OPTION, SourceOptions
from maxtext_ext.sources.rows import Row, RowShard, open_rows

OPTIONS = EVERY_OPTION
FILE_PATTERNS = tuple(f"*.{kind}{suffix}" for kind in ("csv", "tsv") for suffix in ("", *SUFFIXES))
_DELIMITERS = ",\t;|"
_COMMON_VOICE = {"client_id", "path", "sentence"}
_CLIPS = "clips"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Header:
  """First row of a table, with the format that it implies.

  Attributes:
    names: of the columns.
    delimiter: between fields.
    quoted: whether fields may be in quotes.
  """

  names: tuple[str, ...]
  delimiter: str
  quoted: bool

  @property
  def is_common_voice(self) -> bool:
    """Returns whether it is a table of Common Voice."""
    return _COMMON_VOICE.issubset(self.names)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CsvReader:
  """Reads the rows of tables; `options` say which columns."""

  options: SourceOptions

  def rows(self, part: LineRange) -> Iterator[tuple[int, Row | RecordError]]:
    """See RowReader."""
    header = read_header(part.path, self.options)
    with part.open() as stream:
      records = _scan_records(stream, header, part.offset, part.line)
      for record in itertools.islice(records, part.count):
        try:
          yield record.number, self._row(record, header)
        except RecordError as error:
          yield record.number, error

  def _row(self, record: "_Record", header: Header) -> Row:
    if record.problem:
      raise RecordError(record.problem)
    if len(record.fields) != len(header.names):
      raise RecordError(
        f"row has {len(record.fields)} fields, expected the {len(header.names)} of its header; "
        "put fields that hold the delimiter in quotes"
      )
    values = {
      name: _value(name, field)
      for name, field in zip(header.names, record.fields, strict=True)
      if field or name == self.options.id_key
    }
    path = value_of(values, choose_names(values, self.options), "audio")
    if header.is_common_voice and isinstance(path, str) and "/" not in path:
      return Row(values=values, clip=Clip(path=f"{_CLIPS}/{path}"))
    return Row(values=values)


def open_files(files: list[str], options: SourceOptions) -> list[RowShard]:
  """Divides the rows of tables among shards, see `open_rows`.

  Raises:
    ValueError: a column is missing, or as there.
  """
  for path in files:
    read_header(path, options)
  return open_rows(files, CsvReader(options=options), options, lambda path: _scan(path, options))


def _scan(path: str, options: SourceOptions) -> Iterator[Line]:
  header = read_header(path, options)
  with LineRange(path=path, offset=0, line=1, count=0).open() as stream:
    for record in itertools.islice(_scan_records(stream, header, 0, 1), 1, None):
      content = "\0".join((*header.names, *record.fields)).encode(errors="surrogatepass")
      yield Line(
        number=record.number, offset=record.offset, content=content, problem=record.problem
      )


def read_header(path: str, options: SourceOptions) -> Header:
  """Reads the first row of a table.

  Raises:
    ValueError: it has no column for the audio or the text, or two of one name.
  """
  try:
    text = next((line.text() for line in read_lines(path)), "")
  except RecordError as error:
    raise ValueError(f"{path}: {error}") from error
  delimiter = max(_DELIMITERS, key=text.count)
  (names,) = csv.reader([text], delimiter=delimiter) if text else ([],)
  header = Header(
    names=tuple(name.strip() for name in names),
    delimiter=delimiter,
    quoted=not set(names) >= _COMMON_VOICE,
  )
  found = choose_names(set(header.names), options)
  for field, name in found.items():
    if header.names.count(name) > 1:
      raise ValueError(
        f"{path}: {header.names.count(name)} columns are called '{name}', expected one for the "
        f"{field}; rename the others"
      )
  asked = {"audio": options.audio_key, "text": options.text_key}
  asked |= {"id": options.id_key} if options.id_key else {}
  for field, wanted in asked.items():
    if field not in found:
      expected = wanted or " or ".join(USUAL_NAMES[field])
      raise ValueError(
        f"{path}: no column for the {field} ({expected}), its first row is "
        f"{list(header.names)!r:.300}; name it with --{field}-key"
      )
  return header


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Record:
  """A row, of one line or several.

  Attributes:
    number, offset: where its first line is.
    fields: its fields.
    problem: why it cannot be read.
  """

  number: int
  offset: int
  fields: tuple[str, ...] = ()
  problem: str = ""


def _scan_records(
  stream: io.BufferedIOBase, header: Header, offset: int, number: int
) -> Iterator[_Record]:
  """Yields the rows of a stream that stands at the beginning of one."""
  lines = _Lines(scan_lines(stream, offset, number))
  reader = csv.reader(
    lines,
    delimiter=header.delimiter,
    quoting=csv.QUOTE_MINIMAL if header.quoted else csv.QUOTE_NONE,
    strict=True,
  )
  while (first := lines.begin()) is not None:
    place: dict[str, Any] = {"number": first.number, "offset": first.offset}
    if first.problem:
      next(lines)
      yield _Record(**place, problem=first.problem)
      continue
    try:
      fields = next(reader)
    except csv.Error as error:
      yield _Record(**place, problem=f"row is not CSV ({error}); check its quotes")
    except _ProblemError as error:
      yield _Record(**place, problem=str(error))
    else:
      yield _Record(**place, fields=tuple(fields))


class _ProblemError(ValueError):
  """A line within a row cannot be read."""


class _Lines:
  """Lines as text for the csv module, which takes several for a row with a quoted line break."""

  def __init__(self, lines: Iterator[Line]) -> None:
    self._lines = lines
    self._waiting: Line | None = None

  def begin(self) -> Line | None:
    """Returns the next line, None at the end."""
    self._waiting = self._waiting or next(self._lines, None)
    return self._waiting

  def __iter__(self) -> "_Lines":
    return self

  def __next__(self) -> str:
    line = self.begin()
    self._waiting = None
    if line is None:
      raise StopIteration
    try:
      return line.text() + "\n" if not line.problem else ""
    except RecordError as error:
      raise _ProblemError(str(error)) from error


def _value(name: str, field: str) -> str | float:
  """Converts seconds to a number if possible."""
  if name in ("offset", "duration"):
    try:
      return float(field)
    except ValueError:
      return field
  return field
