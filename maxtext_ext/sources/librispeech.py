"""LibriSpeech as OpenSLR publishes it: an archive for each subset, with a transcript per chapter.

train-clean-100.tar.gz holds LibriSpeech/train-clean-100/{speaker}/{chapter}/, and in there
{speaker}-{chapter}-{number}.flac and {speaker}-{chapter}.trans.txt, whose lines are an id and its
text. The transcript may come behind the sound, which then waits, on disk where it is long. Archives
are read as a stream and never unpacked. Source: openslr.org/12 and the README.TXT in the archives.
"""

import dataclasses
import re
import tempfile
import zlib
from collections.abc import Iterator
from typing import IO, Any, cast

from maxtext_ext.audio.io import read_audio
from maxtext_ext.audio.limits import AudioError
from maxtext_ext.files import storage
from maxtext_ext.records.schema import Record, RecordError
from maxtext_ext.sources import tar_members
from maxtext_ext.sources.entry import Bad, Good
from maxtext_ext.sources.options import SourceOptions
from maxtext_ext.sources.tar import MAX_AUDIO, MAX_TEXT
from maxtext_ext.sources.tar_members import Damage, Member, copy, read_members
from maxtext_ext.text.normalize.invisible import is_blank

OPTIONS = frozenset(("shards", "language", "dataset_name"))
FILE_PATTERNS = tar_members.FILE_PATTERNS
# The chapter "84-121123" is in the folder 84/121123.
_MEMBER = re.compile(r"(?:.*/)?(\d+)/(\d+)/(\1-\2)(?:-\d+\.flac|\.trans\.txt)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LibriSpeechShard:
  """Some chapters of an archive, drawn by a hash, so that no index of the archive is needed.

  Attributes:
    path: the archive.
    index, count: which of how many shards.
    options: language and data set of its records.
  """

  path: str
  index: int
  count: int
  options: SourceOptions

  @property
  def paths(self) -> tuple[str, ...]:
    """The archive."""
    return (self.path,)

  def entries(self) -> Iterator[Good | Bad]:
    """Reads its chapters; the position is the utterance's among those of the shard, from 0.

    Each shard decompresses the whole archive, as gzip cannot be entered in the middle; that takes
    a small part of the time to decode all of its sound.
    """
    size = max(1, storage.size_of(self.path))
    with storage.open_read(self.path) as file, _Chapters() as chapters:
      position = 0

      def place() -> dict[str, Any]:
        return {"file": self.path, "position": position, "done": min(1.0, file.tell() / size)}

      for item in chapters.read(read_members(cast(Any, file), self._limit_of)):
        try:
          yield Good(**place(), record=self._record(item))
        except RecordError as error:
          yield Bad(**place(), sample_id=error.sample_id, reason=str(error))
        position += 1

  def _limit_of(self, path: str) -> int | None:
    match = _MEMBER.fullmatch(path)
    if not match or zlib.crc32(match[3].encode()) % self.count != self.index:
      return None
    return MAX_AUDIO if path.endswith(".flac") else MAX_TEXT

  def _record(self, utterance: "_Utterance | RecordError") -> Record:
    if isinstance(utterance, RecordError):
      raise utterance
    name, text = utterance.sample_id, utterance.text
    if is_blank(text):
      raise RecordError("text is missing or empty; leave the utterance out", name)
    try:
      with utterance.sound:
        audio = read_audio(utterance.sound)
    except AudioError as error:
      raise RecordError(str(error), name) from error
    return Record(
      sample_id=name,
      audio=audio,
      text=text,
      dataset_name=self.options.dataset_name,
      language=self.options.language,
      speaker=name.partition("-")[0],
    )


def open_files(files: list[str], options: SourceOptions) -> list[LibriSpeechShard]:
  """Divides each archive into `options.shards`, one by default."""
  count = options.shards or 1
  return [
    LibriSpeechShard(path=path, index=index, count=count, options=options)
    for path in files
    for index in range(count)
  ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Utterance:
  sample_id: str
  text: str
  sound: IO[bytes]  # to be closed


class _Chapters:
  """Chapters whose transcript or sound is still to come; for a `with` block."""

  def __init__(self) -> None:
    self._texts: dict[str, dict[str, str]] = {}  # of a chapter, by id, until its sound was read
    self._problems: dict[str, str] = {}  # chapters whose transcript cannot be read, and why
    self._waiting: dict[str, dict[str, tuple[int, int]]] = {}  # start and size in the file, by id
    self._file = cast(
      IO[bytes],
      tempfile.SpooledTemporaryFile(max_size=tar_members.IN_MEMORY),  # noqa: SIM115  see __exit__
    )

  def __enter__(self) -> "_Chapters":
    return self

  def __exit__(self, *_: object) -> None:
    self._file.close()

  def read(self, members: Iterator[Member | Damage]) -> Iterator[_Utterance | RecordError]:
    """Yields each utterance of the members once, and at the end what is missing."""
    for member in members:
      if isinstance(member, Damage):
        where = f" in or behind {member.name}" if member.name else ""
        yield RecordError(f"{member.reason}{where}; what follows is left out: copy the file again")
        break
      if member.name.endswith(".flac"):
        yield from self._take_sound(member)
      else:
        yield from self._take_transcript(member)
    yield from self._left_over()

  def _take_sound(self, member: Member) -> Iterator[_Utterance | RecordError]:
    name = _base(member.name).removesuffix(".flac")
    chapter = name.rpartition("-")[0]
    if member.content is None:
      self._texts.get(chapter, {}).pop(name, None)
      yield RecordError(f"'{_base(member.name)}' {member.problem}", name)
    elif chapter in self._texts or chapter in self._problems:
      yield self._utterance(chapter, name, member.content)
    else:
      start = self._file.seek(0, 2)
      with member.content as sound:
        copy(sound, self._file)
      self._waiting.setdefault(chapter, {})[name] = (start, self._file.tell() - start)

  def _take_transcript(self, member: Member) -> Iterator[_Utterance | RecordError]:
    chapter = _base(member.name).removesuffix(".trans.txt")
    try:
      if member.content is None:
        raise RecordError(f"{_base(member.name)} {member.problem}")
      self._texts.setdefault(chapter, {}).update(_parse(member.read()))
    except RecordError as error:
      self._problems[chapter] = str(error)
    waiting = self._waiting.pop(chapter, {})
    for name, (start, size) in waiting.items():
      sound = tempfile.SpooledTemporaryFile(max_size=tar_members.IN_MEMORY)  # noqa: SIM115
      self._file.seek(start)
      copy(self._file, sound, size)
      sound.seek(0)
      yield self._utterance(chapter, name, cast(IO[bytes], sound))
    if waiting and not self._waiting:
      self._file.seek(0)
      self._file.truncate()

  def _utterance(self, chapter: str, name: str, sound: IO[bytes]) -> _Utterance | RecordError:
    text = self._texts.get(chapter, {}).pop(name, None)
    if text is not None:
      return _Utterance(sample_id=name, text=text, sound=sound)
    sound.close()
    problem = self._problems.get(chapter, f"{chapter}.trans.txt has no line of it; add one")
    return RecordError(problem, name)

  def _left_over(self) -> Iterator[RecordError]:
    for chapter, names in self._waiting.items():
      reason = f"{chapter}.trans.txt is not in the archive; copy the file again"
      yield from (RecordError(reason, name) for name in names)
    for chapter, texts in self._texts.items():
      for name in texts:
        reason = f"{chapter}.trans.txt names it, but its sound is not in the archive; copy it again"
        yield RecordError(reason, name)


def _base(path: str) -> str:
  return path.rpartition("/")[2]


def _parse(content: bytes) -> dict[str, str]:
  """Returns the text of each id: "84-121123-0000 GO DO YOU HEAR" is a line."""
  try:
    lines = content.decode().splitlines()
  except UnicodeDecodeError as error:
    raise RecordError(
      f"its transcript is not UTF-8 (byte 0x{content[error.start]:02x} at {error.start}); "
      "copy the file again"
    ) from error
  pairs = (line.strip().partition(" ") for line in lines if line.strip())
  return {name: text.strip() for name, _, text in pairs}
