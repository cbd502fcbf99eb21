"""Lines of text files, compressed or not, and their division among shards."""

import dataclasses
import hashlib
import io
import itertools
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import cast

from maxtext_ext.files import storage
from maxtext_ext.files.compressed import DAMAGE, decompress, is_damage, skip
from maxtext_ext.records.schema import RecordError
from maxtext_ext.sources.fields import BYTE_ORDER_MARK
from maxtext_ext.sources.options import SourceOptions
from maxtext_ext.sources.sharding import cut_rows

_DIGEST = 8  # bytes
MAX_LINE = 4 << 20  # bytes; what is parsed takes some thirty times as much


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Line:
  """A line that is not blank, or the damaged rest of a file.

  Attributes:
    number: from 1.
    offset: byte at which it starts, of the decompressed file.
    content: its bytes, with the line break; empty where there is a problem.
    problem: why it cannot be read.
  """

  number: int
  offset: int
  content: bytes = b""
  problem: str = ""

  def text(self) -> str:
    """The content in UTF-8, without line break and byte order mark.

    Raises:
      RecordError: it has a problem, or is not UTF-8.
    """
    if self.problem:
      raise RecordError(self.problem)
    content = self.content.removeprefix(BYTE_ORDER_MARK)
    try:
      return content.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
      raise RecordError(
        f"line is not UTF-8 (byte 0x{content[error.start]:02x} at {error.start}); save it as UTF-8"
      ) from error


Scan = Callable[[str], Iterator[Line]]  # finds the rows of a file


@dataclasses.dataclass(frozen=True, kw_only=True)
class LineRange:
  """Some consecutive rows of a file.

  Attributes:
    path: the file.
    offset: byte at which the first of them starts, of the decompressed file.
    line: its number, from 1.
    count: rows that are not blank.
    digest: of their numbers and contents.
  """

  path: str
  offset: int
  line: int
  count: int
  digest: str = ""

  def read(self) -> Iterator[Line]:
    """Yields each line that is not blank."""
    with self.open() as stream:
      yield from itertools.islice(scan_lines(stream, self.offset, self.line), self.count)

  def open(self) -> "_Stream":
    """Opens the file at the first row."""
    return _Stream(self.path, self.offset)


class _Stream:
  """The decompressed content of a file from an offset on, for a `with` block.

  A compressed file is read from its beginning for each range of it, which is little beside the
  sound of its lines.
  """

  def __init__(self, path: str, offset: int = 0) -> None:
    self._path, self._offset = path, offset

  def __enter__(self) -> io.BufferedIOBase:
    self._file = cast(io.BufferedIOBase, storage.open_read(self._path))
    stream = decompress(self._file)
    if stream is self._file:
      stream.seek(self._offset)
    else:
      skip(stream, self._offset)
    return stream

  def __exit__(self, *_: object) -> None:
    self._file.close()


def read_lines(path: str) -> Iterator[Line]:
  """Yields each line of a file that is not blank."""
  with _Stream(path) as stream:
    yield from scan_lines(stream)


def scan_lines(stream: io.BufferedIOBase, offset: int = 0, number: int = 1) -> Iterator[Line]:
  """Yields each line that is not blank; at damage one with the problem, and ends.

  Args:
    stream: the content.
    offset: where it stands.
    number: of the line there.
  """
  for number in itertools.count(number):  # noqa: B020  goes on from there
    try:
      content, size = _read_line(stream)
    except (*DAMAGE, OSError) as error:
      if not is_damage(error):
        raise
      yield Line(number=number, offset=offset, problem=_damage(error))
      return
    if not size:
      return
    if len(content) > MAX_LINE:
      problem = f"line is longer than {MAX_LINE >> 20} MiB, expected a path and a text"
      yield Line(number=number, offset=offset, problem=problem)
    elif content.strip():
      yield Line(number=number, offset=offset, content=content)
    offset += size


def cut_lines(
  paths: Iterable[str], options: SourceOptions, scan: Scan = read_lines
) -> list[tuple[LineRange, ...]]:
  """Divides the rows of files among shards, in order.

  Args:
    paths: the files.
    options: `shards` or `records_per_shard`.
    scan: finds the rows of a file; of their contents only a digest is kept.

  Raises:
    ValueError: fewer rows than `options.shards`.
  """
  indexes = {path: _Index(path, scan) for path in paths}
  counts = [(path, len(index.offsets)) for path, index in indexes.items()]
  return [
    tuple(
      LineRange(
        path=part.path,
        offset=indexes[part.path].offsets[part.first],
        line=indexes[part.path].numbers[part.first],
        count=part.count,
        digest=indexes[part.path].digest(part.first, part.count),
      )
      for part in ranges
    )
    for ranges in cut_rows(counts, options)
  ]


class _Index:
  """Index of the rows of a file, with their places and digests: 24 bytes per row."""

  def __init__(self, path: str, scan: Scan) -> None:
    self.offsets, self.numbers = array("q"), array("q")
    self._digests = bytearray()
    for line in scan(path):
      self.offsets.append(line.offset)
      self.numbers.append(line.number)
      content = b"%d:%b" % (line.number, line.content or line.problem.encode())
      self._digests += hashlib.blake2b(content, digest_size=_DIGEST).digest()

  def digest(self, first: int, count: int) -> str:
    """Computes the digest of some consecutive rows, from 0."""
    part = self._digests[_DIGEST * first : _DIGEST * (first + count)]
    return hashlib.blake2b(part, digest_size=16).hexdigest()


def find_values(path: str, keys: Iterable[str]) -> dict[str, str]:
  """Reads "key value" lines, of some keys only: {key: rest of the line}; the first of a key counts.

  Lines that are not UTF-8 are ignored, as if their key had no line.
  """
  wanted, values = set(keys), {}
  for line in read_lines(path):
    try:
      key, *value = line.text().split(maxsplit=1)
    except RecordError:
      continue
    if key in wanted and key not in values:
      values[key] = value[0].strip() if value else ""
  return values


def _read_line(stream: io.BufferedIOBase) -> tuple[bytes, int]:
  """A line and its length; of one over MAX_LINE only its beginning, of MAX_LINE + 1."""
  content = stream.readline(MAX_LINE + 1)
  size, end = len(content), content[-1:]
  while len(content) > MAX_LINE and end not in (b"\n", b""):
    rest = stream.readline(MAX_LINE)
    size, end = size + len(rest), rest[-1:]
  return content, size


def _damage(error: Exception) -> str:
  return f"file is cut or damaged ({error}); what follows is left out: copy the file again"
