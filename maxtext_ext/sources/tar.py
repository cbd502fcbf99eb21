"""WebDataset tar files, read sequentially, compressed or not.

Members whose names agree up to the first dot of the base name form a sample: one with sound (WAV,
FLAC, MP3, ...), and .txt or .json with the text. JSON may have further fields under their usual
names, see `fields`; a sample without an id gets its name as id. Members of a sample need not be
adjacent: the first ones wait on disk for the others.
"""

import dataclasses
import os
import re
import tempfile
from collections.abc import Generator, Iterator
from typing import IO, Any, cast

from maxtext_ext.audio.io import read_audio
from maxtext_ext.audio.limits import AudioError
from maxtext_ext.files import storage
from maxtext_ext.records.schema import Record, RecordError
from maxtext_ext.sources import tar_members
from maxtext_ext.sources.dataset_files import shared_folder
from maxtext_ext.sources.entry import Bad, Good
from maxtext_ext.sources.fields import (
  BYTE_ORDER_MARK,
  choose_names,
  parse_object,
  read_fields,
  read_id,
  value_of,
)
from maxtext_ext.sources.options import EVERY_OPTION, SourceOptions
from maxtext_ext.sources.sharding import group_files
from maxtext_ext.sources.tar_members import Damage, Member, copy, read_members

OPTIONS = EVERY_OPTION - {"records_per_shard", "allow_urls"}
FILE_PATTERNS = tar_members.FILE_PATTERNS
AUDIO = re.compile(
  r"wav|flac|mp3|og[ga]|opus|m4a|aac|webm|mp4|mk[av]|wma|amr|3gp|aiff?|caf|w64|sph|nist|au"
)
MAX_AUDIO = 2 << 30  # bytes of an audio member
MAX_TEXT = 4 << 20  # bytes of a text or JSON member, which takes many times as much parsed
_TEXT = ("txt", "text", "transcript", "transcription", "lab")
_JSON = "json"
_PART_OF_A_NAME = 200  # characters; a name may be a book


@dataclasses.dataclass(frozen=True, kw_only=True)
class TarShard:
  """One tar file, or several in a row; `folder` is what all paths of the source begin with."""

  paths: tuple[str, ...]
  folder: str
  options: SourceOptions

  def entries(self) -> Iterator[Good | Bad]:
    """Reads the samples; the position is the sample's in its file, from 0."""
    sizes = [storage.size_of(path) for path in self.paths]
    before, total = 0, max(1, sum(sizes))
    for path, size in zip(self.paths, sizes, strict=True):
      name = path.removeprefix(self.folder)
      with storage.open_read(path) as file, _Samples(self.options) as samples:
        for position, sample in samples.read(file):
          done = min(1.0, (before + file.tell()) / total)
          place: dict[str, Any] = {"file": path, "position": position, "done": done}
          try:
            if isinstance(sample, RecordError):
              raise sample
            record, is_named = sample.record(self.options)
          except RecordError as error:
            yield Bad(**place, sample_id=error.sample_id, reason=str(error))
          else:
            yield Good(**place, record=record, fallback_id="" if is_named else f"{name}:{position}")
      before += size


def open_files(files: list[str], options: SourceOptions) -> list[TarShard]:
  """A shard for each file, or `options.shards` of them all.

  Raises:
    ValueError: fewer files than `options.shards`.
  """
  folder = shared_folder(files)
  return [
    TarShard(paths=group, folder=folder, options=options)
    for group in group_files(files, options.shards)
  ]


@dataclasses.dataclass
class _Sample:
  """The members of one name that were read so far."""

  name: str
  audio: IO[bytes] | None = None
  text: bytes | None = None
  json: bytes | None = None
  reason: str = ""  # why it cannot be used, as far as that is known

  def record(self, options: SourceOptions) -> tuple[Record, bool]:
    """Decodes it; also tells whether it has an id of its own.

    Raises:
      RecordError: it cannot be used.
    """
    if self.reason:
      raise RecordError(self.reason, self.name)
    values, names = self.values(options)
    fields = read_fields(values, names, self.name, options)
    if self.audio is None:
      raise RecordError("no audio: no member of this name is a sound file", fields.sample_id)
    try:
      self.audio.seek(0)
      record = fields.with_audio(read_audio(self.audio))
    except AudioError as error:
      raise RecordError(str(error), fields.sample_id) from error
    return record, bool(read_id(values, names, ""))

  def values(self, options: SourceOptions) -> tuple[dict[str, Any], dict[str, str]]:
    """Reads the text and JSON members: their values, and the name of each field.

    Raises:
      RecordError: one of them cannot be read.
    """
    try:
      values: dict[str, Any] = parse_object(self.json) if self.json is not None else {}
    except RecordError as error:
      raise RecordError(str(error), error.sample_id or self.name) from error
    names = choose_names(values, options)
    if self.text is not None:
      names["text"] = "text"
      values = values | {"text": self._decode_text(self.text.removeprefix(BYTE_ORDER_MARK))}
    return values, names

  def _decode_text(self, content: bytes) -> str:
    try:
      return content.decode().strip()
    except UnicodeDecodeError as error:
      raise RecordError(
        f"text is not UTF-8 (byte 0x{content[error.start]:02x} at {error.start}); save it as UTF-8",
        self.name,
      ) from error

  def is_whole(self, options: SourceOptions) -> bool:
    """Returns whether the sample is complete, or can no longer become so."""
    if self.reason:
      return True
    if self.audio is None or (self.text is None and self.json is None):
      return False
    try:
      values, names = self.values(options)
    except RecordError:
      return True
    return value_of(values, names, "text") is not None

  @property
  def is_none(self) -> bool:
    """Returns whether the files belong to no sample, such as a README."""
    return self.audio is None and self.text is None and self.json is None and not self.reason

  def add(self, part: str, member: Member) -> None:
    """Takes a member with its sound, its text or its JSON."""
    name = os.path.basename(member.name)[-_PART_OF_A_NAME:]
    if getattr(self, part) is not None:
      self.reason = f"two members with its {part}, '{name}' is the second"
    elif member.problem:
      self.reason = f"'{name}' {member.problem}"
    else:
      setattr(self, part, member.content if part == "audio" else member.read())
      return
    if member.content is not None:
      member.content.close()

  def close(self) -> None:
    """Lets go of a file on disk."""
    if self.audio is not None:
      self.audio.close()


class _Samples:
  """The samples of an archive, and those that wait for more members; for a `with` block."""

  def __init__(self, options: SourceOptions) -> None:
    self._options = options
    self._waiting: dict[str, tuple[int, _Sample]] = {}
    self._joined: set[str] = set()  # names of samples whose members came apart
    self._stored: dict[str, tuple[int, int]] = {}  # where their sound is in the file
    self._file = cast(IO[bytes], tempfile.TemporaryFile())  # noqa: SIM115  see __exit__

  def __enter__(self) -> "_Samples":
    return self

  def __exit__(self, *_: object) -> None:
    self._file.close()

  def read(self, file: Any) -> Iterator[tuple[int, _Sample | RecordError]]:
    """Yields position and sample; at the end of a damaged file an error that says so."""
    sample, position = _Sample(name=""), 0
    for member in read_members(file, self._limit_of):
      if isinstance(member, Damage):
        yield from self._end(sample, position, member)
        return
      name, extension = split_name(member.name)
      if name != sample.name:
        position = yield from self._take(sample, position)
        sample = _Sample(name=name)
      part = self._part_of(extension)
      assert part  # it is wanted
      sample.add(part, member)
    position = yield from self._take(sample, position)
    yield from self._left_over()

  def _limit_of(self, path: str) -> int | None:
    name, extension = split_name(path)
    part = self._part_of(extension)
    if part is None or os.path.basename(name).startswith("._"):  # what macOS leaves
      return None
    return MAX_AUDIO if part == "audio" else MAX_TEXT

  def _part_of(self, extension: str) -> str | None:
    last = extension.rpartition(".")[2]
    if _is_asked(extension, self._options.audio_key, AUDIO.fullmatch(last) is not None):
      return "audio"
    if _is_asked(extension, self._options.text_key, last in _TEXT):
      return "text"
    return "json" if last == _JSON else None

  def _take(self, sample: _Sample, position: int) -> Generator[tuple[int, _Sample], None, int]:
    """Yields a sample if it is whole, alone or with what waited; returns the next position."""
    if sample.is_none:
      return position
    found = position
    if sample.name in self._waiting:
      found, sample = self._join(sample)
    elif sample.audio is None and sample.name in self._joined:
      return position  # a further text of one that is done
    else:
      position += 1
    if sample.is_whole(self._options):
      yield found, sample
      sample.close()
    else:
      self._wait(found, sample)
    return position

  def _wait(self, position: int, sample: _Sample) -> None:
    if sample.audio is not None:
      start = self._file.seek(0, os.SEEK_END)
      sample.audio.seek(0)
      copy(sample.audio, self._file)
      self._stored[sample.name] = (start, self._file.tell() - start)
      sample.close()
      sample.audio = None
    self._waiting[sample.name] = (position, sample)

  def _join(self, sample: _Sample) -> tuple[int, _Sample]:
    position, waiting = self._waiting.pop(sample.name)
    self._joined.add(sample.name)
    self._restore(waiting)
    for part in ("audio", "text", "json"):
      content = getattr(sample, part)
      if content is not None and getattr(waiting, part) is not None:
        waiting.reason = f"two members with its {part}"
      elif content is not None:
        setattr(waiting, part, content)
    waiting.reason = waiting.reason or sample.reason
    return position, waiting

  def _restore(self, sample: _Sample) -> None:
    if sample.name in self._stored:
      start, size = self._stored.pop(sample.name)
      sample.audio = tempfile.SpooledTemporaryFile(max_size=tar_members.IN_MEMORY)  # noqa: SIM115
      self._file.seek(start)
      copy(self._file, sample.audio, size)

  def _left_over(self) -> Iterator[tuple[int, _Sample]]:
    for position, sample in self._waiting.values():
      self._restore(sample)
      yield position, sample
      sample.close()

  def _end(
    self, sample: _Sample, position: int, damage: Damage
  ) -> Iterator[tuple[int, _Sample | RecordError]]:
    is_cut = split_name(damage.name)[0] == sample.name
    is_there = sample.audio is not None and (sample.text is not None or sample.json is not None)
    if not is_cut and (is_there or sample.name in self._waiting):
      position = yield from self._take(sample, position)
    sample.close()
    yield from self._left_over()
    where = f" in or behind sample '{sample.name[:_PART_OF_A_NAME]}'" if sample.name else ""
    yield (
      position,
      RecordError(f"{damage.reason}{where}; what follows is left out: copy the file again"),
    )


def split_name(path: str) -> tuple[str, str]:
  """Splits "./a.b/c.16k.WAV" into "a.b/c" and "16k.wav"."""
  folder, base = os.path.split(os.path.normpath(path))
  stem, _, extension = base.partition(".")
  if not stem:  # a hidden file
    stem, extension = base, ""
  return os.path.join(folder, stem), extension.lower()


def _is_asked(extension: str, key: str | None, is_usual: bool) -> bool:
  """Returns whether a member is the one that the user named, or else one of the usual."""
  if key is None:
    return is_usual
  return key.lower().removeprefix(".") in (extension, extension.rpartition(".")[2])
