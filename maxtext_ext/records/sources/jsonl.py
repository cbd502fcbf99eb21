"""JSONL files of lines {"audio": path, "text": ...} and the sound files that they name.

Optional keys: "id" (else the audio path as written), "language", "dataset", "prompt", "speaker";
"offset" and, unless it is the rest, "duration" take a part of the sound file, in seconds. All go by
their other usual names too, see `fields`: manifests of NeMo are read as they are. The text may be
in Qwen3-ASR's fine-tuning form, "language English<asr_text>what is said". Other keys are ignored.
"""

import dataclasses
import hashlib
import os
from array import array
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from maxtext_ext.audio.io import AudioError
from maxtext_ext.records import storage
from maxtext_ext.records.named_files import load_named
from maxtext_ext.records.schema import Record, RecordError
from maxtext_ext.records.sources.cutting import cut_rows
from maxtext_ext.records.sources.entry import Bad, Good
from maxtext_ext.records.sources.fields import (
  choose_names,
  parse_object,
  read_fields,
  read_id,
  value_of,
)
from maxtext_ext.records.sources.options import SourceOptions

FILE_PATTERN = "*.jsonl"
MAX_LINE = 4 << 20  # bytes; what is parsed takes some thirty times as much


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lines:
  """Some consecutive lines of a file.

  Attributes:
    path: the file.
    offset: byte at which the first of the lines starts.
    line: its number, from 1.
    count: lines that are not blank.
    digest: of their numbers and contents.
  """

  path: str
  offset: int
  line: int
  count: int
  digest: str

  def read(self) -> Iterator[tuple[int, bytes]]:
    """Yields the number and the content of each line that is not blank."""
    left = self.count
    with storage.open_read(self.path) as file:
      file.seek(self.offset)
      for line, (content, _) in enumerate(_read_lines(file), self.line):
        if not content.strip():
          continue
        yield line, content
        left -= 1
        if not left:
          return


@dataclasses.dataclass(frozen=True, kw_only=True)
class JsonlShard:
  """Some consecutive lines, of one file or over the border of several."""

  parts: tuple[Lines, ...]
  options: SourceOptions

  def entries(self) -> Iterator[Good | Bad]:
    """Reads the lines and decodes the audio that they name; the position is the line, from 1."""
    total = sum(part.count for part in self.parts)
    read = 0
    for part in self.parts:
      for line, content in part.read():
        read += 1
        place = {"file": part.path, "position": line, "done": read / total}
        try:
          record = read_line(content, os.path.dirname(part.path), self.options)
        except RecordError as error:
          yield Bad(**place, sample_id=error.sample_id, reason=str(error))
        else:
          yield Good(**place, record=record)

  def identity(self, versions: Mapping[str, str]) -> list[list[str]]:
    """The lines themselves: a corrected one concerns no other shard, wherever it moves them."""
    del versions
    return [[part.path, part.digest] for part in self.parts]


def open_shards(source: str, options: SourceOptions) -> list[JsonlShard]:
  """Cuts the files of `source` (a file, folder or glob) into shards by their lines.

  Raises:
    ValueError: no files, no line in them, or fewer than `options.shards`.
  """
  indexes = {path: _Index(path) for path in storage.find_files(source, FILE_PATTERN)}
  counts = [(path, len(index.offsets)) for path, index in indexes.items()]
  shards = []
  for ranges in cut_rows(counts, options):
    parts = (
      Lines(
        path=part.path,
        offset=indexes[part.path].offsets[part.first],
        line=indexes[part.path].lines[part.first],
        count=part.count,
        digest=indexes[part.path].digest(part.first, part.count),
      )
      for part in ranges
    )
    shards.append(JsonlShard(parts=tuple(parts), options=options))
  if not shards:
    raise ValueError(f'{source}: no lines, expected some like {{"audio": path, "text": "..."}}')
  return shards


class _Index:
  """Where the lines of a file stand that are not blank, and what they are: 24 bytes a line."""

  def __init__(self, path: str) -> None:
    self.offsets, self.lines = array("q"), array("q")
    self._digests = bytearray()
    offset = 0
    with storage.open_read(path) as file:
      for line, (content, size) in enumerate(_read_lines(file), 1):
        if content.strip():
          self.offsets.append(offset)
          self.lines.append(line)
          self._digests += hashlib.blake2b(b"%d:%b" % (line, content), digest_size=8).digest()
        offset += size

  def digest(self, first: int, count: int) -> str:
    """Of some consecutive lines that are not blank, from 0."""
    return hashlib.blake2b(
      self._digests[8 * first : 8 * (first + count)], digest_size=16
    ).hexdigest()


def _read_lines(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
  """Yields each line and its length; of one over MAX_LINE only its beginning, of MAX_LINE + 1."""
  while content := file.readline(MAX_LINE + 1):
    size, end = len(content), content[-1:]
    while len(content) > MAX_LINE and end not in (b"\n", b""):
      rest = file.readline(MAX_LINE)
      size, end = size + len(rest), rest[-1:]
    yield content, size


def read_line(content: bytes, folder: str, options: SourceOptions | None = None) -> Record:
  """Reads one line and its audio.

  Args:
    content: the line, UTF-8.
    folder: what a relative audio path starts from.
    options: names of keys, and what lines do not say themselves.

  Raises:
    RecordError: anything is wrong with either.
  """
  options = options or SourceOptions()
  if len(content) > MAX_LINE:
    raise RecordError(f"line is longer than {MAX_LINE >> 20} MiB, expected a path and a text")
  values = parse_object(content)
  names = choose_names(values, options)
  sample_id = _read_id(values, names)
  try:
    path = value_of(values, names, "audio")
    if path is not None and not isinstance(path, str):
      raise RecordError(f"'{names['audio']}' is {path!r:.60}, expected a string")
    if not path:
      raise RecordError(f"no '{options.audio_key or 'audio'}': expected the path of an audio file")
    fields = read_fields(values, names, sample_id, options)
    audio = load_named(path, folder, allow_urls=options.allow_urls, **_part(values))
  except (RecordError, AudioError) as error:
    raise RecordError(str(error), sample_id) from error
  return fields.with_audio(audio)


def _part(values: Mapping[str, Any]) -> dict[str, float]:
  """The part of the file that is asked for, as `load_audio` takes it."""
  for name in ("offset", "duration"):
    value = values.get(name)
    # A duration alone is what the file has, and not always in seconds.
    if values.get("offset") is not None and value is not None and not _is_number(value):
      raise RecordError(f"'{name}' is {value!r:.60}, expected a number of seconds")
  if values.get("offset") is None:
    return {}
  part = {"offset": float(values["offset"])}
  if values.get("duration"):
    part["duration"] = float(values["duration"])
  return part


def _read_id(values: Mapping[str, Any], names: Mapping[str, str]) -> str:
  """The id, or the path and, of a part, the seconds as in a URL (W3C, Media Fragments)."""
  path = value_of(values, names, "audio")
  default = path if isinstance(path, str) else ""
  offset, duration = values.get("offset"), values.get("duration")
  if default and _is_number(offset):
    default = f"{default}#t={offset}"
    if duration and _is_number(duration):
      default = f"{default},{round(offset + duration, 6)}"
  return read_id(values, names, default)


def _is_number(value: object) -> bool:
  is_number = isinstance(value, int | float) and not isinstance(value, bool)
  return is_number and abs(value) < 1e9
