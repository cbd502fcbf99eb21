"""Tar files of samples as WebDataset has them, read from end to end, compressed or not.

Members that stand together and share their name up to the first dot of its last part are a sample:
one with sound (WAV, FLAC, MP3, ...), and .txt or .json with the text. JSON may say more under the
usual names, see `fields`; a sample without an id has its name for one.
"""

import bz2
import dataclasses
import gzip
import os
import re
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from typing import IO, Any

from maxtext_ext.audio.headers import SeekableFile
from maxtext_ext.audio.io import AudioError, read_audio
from maxtext_ext.files.writing import writing
from maxtext_ext.records import storage
from maxtext_ext.records.schema import Record, RecordError
from maxtext_ext.records.sources.cutting import group_files
from maxtext_ext.records.sources.entry import Bad, Good
from maxtext_ext.records.sources.fields import choose_names, parse_object, read_fields
from maxtext_ext.records.sources.options import EVERY_OPTION, SourceOptions

OPTIONS = EVERY_OPTION - {"records_per_shard", "allow_urls"}
FILE_PATTERNS = ("*.tar*",)  # also train-0001.tar.gz
_AUDIO = re.compile(r"wav|flac|mp3|og[ga]|opus|m4a|aac|webm|mp4|mk[av]|wma|amr|3gp|aiff?|caf|w64")
_TEXT = ("txt", "text", "transcript", "transcription", "lab")
_JSON = "json"
_OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open}
_MAX_HEADER = 1 << 20  # bytes of a long name and the like
_MAX_TEXT = 4 << 20  # bytes of a text or JSON member, which takes many times as much parsed
_MAX_AUDIO = 2 << 30  # bytes of an audio member
_IN_MEMORY = 32 << 20  # bytes; a larger audio member waits on disk for the sample's other members
_COPY = 1 << 20
_BUFFER = 1 << 16  # tarfile copies it for each header
_MAX_READS_AT_END = 10
_EXTENDED = (
  tarfile.XHDTYPE,
  tarfile.XGLTYPE,
  tarfile.SOLARIS_XHDTYPE,
  tarfile.GNUTYPE_LONGNAME,
  tarfile.GNUTYPE_LONGLINK,
)
# What damaged bytes end in, in tarfile and beneath it.
_DAMAGE = (tarfile.TarError, EOFError, zlib.error, ValueError, OverflowError)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TarShard:
  """One tar file, or several in a row."""

  paths: tuple[str, ...]
  options: SourceOptions

  def entries(self) -> Iterator[Good | Bad]:
    """Reads the samples; the position is the sample's in its file, from 0."""
    sizes = [storage.size_of(path) for path in self.paths]
    before, total = 0, max(1, sum(sizes))
    for path, size in zip(self.paths, sizes, strict=True):
      with storage.open_read(path) as file:
        for position, item in enumerate(_read_samples(file, self.options)):
          done = min(1.0, (before + file.tell()) / total)
          place = {"file": path, "position": position, "done": done}
          if isinstance(item, RecordError):
            yield Bad(**place, sample_id=item.sample_id, reason=str(item))
          else:
            yield Good(**place, record=item)
      before += size


def open_files(files: list[str], options: SourceOptions) -> list[TarShard]:
  """A shard for each file, or `options.shards` of them all.

  Raises:
    ValueError: fewer files than `options.shards`.
  """
  return [TarShard(paths=group, options=options) for group in group_files(files, options.shards)]


@dataclasses.dataclass
class _Sample:
  """The members of one name that were read so far."""

  name: str
  audio: IO[bytes] | None = None
  text: bytes | None = None
  json: bytes | None = None
  reason: str = ""  # why it cannot be used, as far as that is known
  is_open: bool = False  # a member is being read

  def record(self, options: SourceOptions) -> Record:
    """Decodes it.

    Raises:
      RecordError: it cannot be used.
    """
    if self.reason:
      raise RecordError(self.reason, self.name)
    try:
      values: dict[str, Any] = parse_object(self.json) if self.json is not None else {}
      text = self.text.decode().strip() if self.text is not None else None
    except RecordError as error:
      raise RecordError(str(error), error.sample_id or self.name) from error
    except UnicodeDecodeError as error:
      raise RecordError(
        f"text is not UTF-8 (byte 0x{self.text[error.start]:02x} at {error.start}); "
        "save it as UTF-8",
        self.name,
      ) from error
    names = choose_names(values, options)
    if text is not None:
      names["text"] = "text"
      values = values | {"text": text}
    fields = read_fields(values, names, self.name, options)
    if self.audio is None:
      raise RecordError("no audio: none of the sample's members is a sound file", fields.sample_id)
    try:
      self.audio.seek(0)
      return fields.with_audio(read_audio(self.audio))
    except AudioError as error:
      raise RecordError(str(error), fields.sample_id) from error

  @property
  def is_none(self) -> bool:
    """Whether these are other files, a README say."""
    return self.audio is None and self.text is None and self.json is None and not self.reason

  @property
  def is_whole(self) -> bool:
    """Whether nothing that is needed is missing."""
    has_text = self.text is not None or self.json is not None
    return self.audio is not None and has_text and not self.is_open

  def close(self) -> None:
    """Lets go of a file on disk."""
    if self.audio is not None:
      self.audio.close()


def _read_samples(file: SeekableFile, options: SourceOptions) -> Iterator[Record | RecordError]:
  """Yields the samples; at the end of a damaged file an error that says so."""
  sample = _Sample(name="")
  try:
    recent = _Recent(_decompress(file))
    with tarfile.open(fileobj=recent, mode="r|", bufsize=_BUFFER, tarinfo=_Header) as archive:
      for member in archive:
        archive.members = []  # it would keep them all
        name, extension = _split_name(member.name)
        if not member.isfile() or os.path.basename(name).startswith("._"):
          continue
        if name != sample.name:
          yield from _finish(sample, options)
          sample = _Sample(name=name)
        sample.is_open = True
        _add_member(sample, member, extension, archive, options)
        sample.is_open = False
      damage = recent.describe_end(archive.offset)
  except _DAMAGE as error:
    damage = f"file is cut or damaged ({error})"
  except OSError as error:
    if error.errno is not None:  # the operating system's, not bad content
      raise
    damage = f"file is damaged ({error})"
  if not damage or sample.is_whole:
    yield from _finish(sample, options)
  sample.close()
  if damage:
    where = f" in or behind sample '{sample.name}'" if sample.name else ""
    yield RecordError(f"{damage}{where}; what follows is left out: copy the file again")


def _finish(sample: _Sample, options: SourceOptions) -> Iterator[Record | RecordError]:
  if sample.is_none:
    return
  try:
    yield sample.record(options)
  except RecordError as error:
    yield error
  finally:
    sample.close()


def _split_name(path: str) -> tuple[str, str]:
  """Splits "./a.b/c.16k.WAV" into "a.b/c" and "16k.wav"."""
  folder, base = os.path.split(os.path.normpath(path))
  stem, _, extension = base.partition(".")
  if not stem:  # a hidden file
    stem, extension = base, ""
  return os.path.join(folder, stem), extension.lower()


def _add_member(
  sample: _Sample,
  member: tarfile.TarInfo,
  extension: str,
  archive: tarfile.TarFile,
  options: SourceOptions,
) -> None:
  """Reads a member if it is one that a sample needs."""
  last = extension.rpartition(".")[2]
  if _is_asked(extension, options.audio_key, _AUDIO.fullmatch(last) is not None):
    part, limit = "audio", _MAX_AUDIO
  elif _is_asked(extension, options.text_key, last in _TEXT):
    part, limit = "text", _MAX_TEXT
  elif last == _JSON:
    part, limit = "json", _MAX_TEXT
  else:
    return
  if getattr(sample, part) is not None:
    sample.reason = f"two members with its {part}, '{os.path.basename(member.name)}' is the second"
  elif member.size > limit:
    sample.reason = (
      f"'{os.path.basename(member.name)}' has {member.size} bytes, expected {limit} at most"
    )
  else:
    content = archive.extractfile(member)
    assert content is not None  # it is a file
    if part == "audio":
      sample.audio = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  see close
      while block := content.read(_COPY):
        with writing(tempfile.gettempdir()):
          sample.audio.write(block)
    else:
      setattr(sample, part, content.read())


def _is_asked(extension: str, key: str | None, is_usual: bool) -> bool:
  """Whether a member is the one that the user named, or else one of the usual."""
  if key is None:
    return is_usual
  return key.lower().removeprefix(".") in (extension, extension.rpartition(".")[2])


class _Header(tarfile.TarInfo):
  """Refuses extended headers that would be read into memory whole, however long they are."""

  @classmethod
  def frombuf(cls, buf: bytes, encoding: str, errors: str) -> "_Header":
    header = super().frombuf(buf, encoding, errors)
    if header.size < 0 or (header.size > _MAX_HEADER and header.type in _EXTENDED):
      raise tarfile.ReadError(f"a header says {header.size} bytes")
    return header


class _Recent:
  """A stream that remembers what was read last, to tell how an archive ends."""

  def __init__(self, file: SeekableFile) -> None:
    self._file = file
    self._before = self._last = b""
    self._position = 0
    self._reads_at_end = 0

  def read(self, size: int) -> bytes:
    data = self._file.read(size)
    if data:
      self._before, self._last = self._last, data
      self._position += len(data)
    else:
      # To the end of a member of 2**60 bytes tarfile would go on for years.
      self._reads_at_end += 1
      if self._reads_at_end > _MAX_READS_AT_END:
        raise EOFError("unexpected end of data")
    return data

  def describe_end(self, offset: int) -> str | None:
    """What is wrong where tarfile, which does not say, found no further header; None: nothing."""
    recent = self._before + self._last
    start = offset - (self._position - len(recent))
    block = recent[start : start + tarfile.BLOCKSIZE]
    if len(block) < tarfile.BLOCKSIZE:
      return "file is cut: it has no end mark"
    return f"the header at byte {offset} is damaged" if any(block) else None


def _decompress(file: SeekableFile) -> SeekableFile:
  magic = file.read(3)
  file.seek(0)
  for start, opener in _OPENERS.items():
    if magic.startswith(start):
      return opener(file)
  return file
