"""Members of a tar file, read sequentially; the file may be compressed, truncated or forged."""

import dataclasses
import io
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, cast

from maxtext_ext.audio.integrity import SeekableFile
from maxtext_ext.files.compressed import DAMAGE, decompress, is_damage
from maxtext_ext.files.writing import writing

FILE_PATTERNS = ("*.tar*", "*.tgz", "*.tbz", "*.tbz2", "*.txz")  # also train-0001.tar.gz
IN_MEMORY = 32 << 20  # bytes; a larger member waits on disk
_MAX_HEADER = 1 << 20  # bytes of a long name and the like
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
# What damaged bytes end in, in tarfile and beneath it. It calls itself for each extended header.
_DAMAGE = (tarfile.TarError, OverflowError, RecursionError, *DAMAGE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Member:
  """A regular file.

  Attributes:
    name: its path in the archive.
    content: of a file that is wanted, to be closed; None where there is a problem.
    problem: why it was not read.
  """

  name: str
  content: IO[bytes] | None = None
  problem: str = ""

  def read(self) -> bytes:
    """Reads and closes the content."""
    assert self.content is not None
    with self.content:
      return self.content.read()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Damage:
  """The end of a file that is damaged.

  Attributes:
    reason: what is wrong, without what to do.
    name: the member that was being read; empty between two of them.
  """

  reason: str
  name: str


def read_members(
  file: io.BufferedIOBase, limit_of: Callable[[str], int | None]
) -> Iterator[Member | Damage]:
  """Yields the members that are wanted, and where a file is damaged that, as the last.

  Args:
    file: stands at its start.
    limit_of: tells how many bytes a member of a name may have; None: it is not wanted.

  Raises:
    OSError: the file cannot be read.
  """
  name = ""
  try:
    recent = _Recent(decompress(file))
    stream = cast(IO[bytes], recent)  # it has what tarfile calls
    with tarfile.open(fileobj=stream, mode="r|", bufsize=_BUFFER, tarinfo=_Header) as archive:
      for header in archive:
        vars(archive)["members"] = []  # it would keep them all
        limit = limit_of(header.name) if header.isfile() else None
        if limit is None:
          continue
        if header.size > limit:
          problem = f"has {header.size} bytes, expected {limit} at most"
          yield Member(name=header.name, problem=problem)
          continue
        name = header.name
        content = _copy(archive, header)
        name = ""
        yield Member(name=header.name, content=content)
      reason = recent.describe_end(archive.offset)
  except _DAMAGE as error:
    reason = f"file is cut or damaged ({str(error)[:200]})"
  except OSError as error:
    if not is_damage(error):  # the operating system's, not bad content
      raise
    reason = f"file is damaged ({error})"
  if reason:
    yield Damage(reason=reason, name=name)


def _copy(archive: tarfile.TarFile, header: tarfile.TarInfo) -> IO[bytes]:
  content = archive.extractfile(header)
  assert content is not None  # it is a file
  spooled = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115  closed by the reader
  try:
    copy(content, spooled)
  except BaseException:
    spooled.close()
    raise
  spooled.seek(0)
  return spooled


def copy(source: SeekableFile, target: IO[bytes], size: int | None = None) -> None:
  """Copies so many bytes, or all that follow, to a temporary file."""
  while block := source.read(_COPY if size is None else min(size, _COPY)):
    with writing(tempfile.gettempdir()):
      target.write(block)
    if size is not None:
      size -= len(block)


class _Header(tarfile.TarInfo):
  """Refuses extended headers that would be read into memory whole, however long they are."""

  @classmethod
  def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
    header = super().frombuf(buf, encoding, errors)
    if header.size < 0 or (header.size > _MAX_HEADER and header.type in _EXTENDED):
      raise tarfile.ReadError(f"a header says {header.size} bytes")
    return header


class _Recent:
  """A stream that remembers what was read last, to tell how an archive ends."""

  def __init__(self, file: io.BufferedIOBase) -> None:
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
      # tarfile would read a forged member of 2**60 bytes for years.
      self._reads_at_end += 1
      if self._reads_at_end > _MAX_READS_AT_END:
        raise EOFError("unexpected end of data")
    return data

  def describe_end(self, offset: int) -> str | None:
    """Names the fault where tarfile, which does not say, found no further header; None: nothing."""
    recent = self._before + self._last
    start = offset - (self._position - len(recent))
    block = recent[start : start + tarfile.BLOCKSIZE]
    if len(block) < tarfile.BLOCKSIZE:
      return "file is cut: it has no end mark"
    return f"the header at byte {offset} is damaged" if any(block) else None
