"""The byte values of a parquet column whose pages do not fit into memory.

Writers count rows, not bytes, when they begin a page: with pyarrow's defaults a page, or the
dictionary of a row group, holds 1,024 values, of audio some 400 MB, and reading it takes several
times as much. Here a page is unpacked piece by piece and only one value is held at a time; the
dictionary lies in a temporary file. Source: github.com/apache/parquet-format, README and Encodings.
"""

import struct
import tempfile
from array import array
from collections.abc import Iterator
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from maxtext_ext.audio.integrity import SeekableFile
from maxtext_ext.records import wire
from maxtext_ext.sources import snappy, thrift

_LARGE_PAGE = 64 << 20  # bytes; Arrow holds a smaller one two or three times
_MAX_VALUE = 128 << 20  # bytes
_MAX_COUNT = 1 << 22  # values of a page; they are of audio
_MAX_INDEXES = 64 << 20  # bytes of levels or indexes of a page, which take a bit or so each
_READ = 1 << 20
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3  # PageType
_DETAILS = {_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}  # where their headers have more
_PLAIN, _PLAIN_DICTIONARY, _RLE_DICTIONARY = 0, 2, 8  # Encoding
_STREAMED = {"ZSTD": "zstd", "GZIP": "gzip", "BROTLI": "brotli"}


class PageError(ValueError):
  """A page is damaged; the text says how."""


def has_large_pages(file: SeekableFile, chunk: pq.ColumnChunkMetaData) -> bool:
  """Whether a column of a row group should be read with `read_values`, as far as that can.

  Args:
    file: the parquet file.
    chunk: the column's metadata; it is not repeated.
  """
  if chunk.total_uncompressed_size <= _LARGE_PAGE or chunk.physical_type != "BYTE_ARRAY":
    return False
  if chunk.compression not in ("UNCOMPRESSED", "SNAPPY", *_STREAMED):
    return False
  if not set(chunk.encodings) <= {"PLAIN", "RLE", "PLAIN_DICTIONARY", "RLE_DICTIONARY"}:
    return False
  try:
    # A dictionary and a page of the others; all that follow are about as large.
    sizes = [page.size for page, _ in zip(_pages(file, chunk), range(2), strict=False)]
  except PageError:
    return False
  return max(sizes, default=0) > _LARGE_PAGE


def check_pages(file: SeekableFile, chunk: pq.ColumnChunkMetaData) -> None:
  """Reads the headers of all pages, since Arrow makes room for whatever size they say.

  Raises:
    PageError: a page is larger than its column.
  """
  for page in _pages(file, chunk):
    if page.size > chunk.total_uncompressed_size:
      raise PageError(
        f"a page at byte {page.start} says that it has {page.size} bytes, and its column "
        f"{chunk.total_uncompressed_size}"
      )


def read_values(
  file: SeekableFile, chunk: pq.ColumnChunkMetaData, max_level: int, begin: int, end: int
) -> Iterator[bytes | None]:
  """Reads some consecutive values of a column in a row group.

  Args:
    file: the parquet file.
    chunk: the column's metadata.
    max_level: definition level of a value that is not null.
    begin: the first value, from 0.
    end: one behind the last.

  Raises:
    PageError: a page is damaged.
  """
  position = 0
  dictionary = None
  for page in _pages(file, chunk):
    if page.kind == _DICTIONARY:
      dictionary = _Dictionary(page.body(), page.count)
      continue
    if page.kind not in (_DATA, _DATA_V2):
      continue
    first, position = position, position + page.count
    if position <= begin:
      continue
    values = _page_values(page, dictionary, max_level, skip=max(0, begin - first))
    for _ in range(max(first, begin), min(position, end)):
      yield next(values)
    if position >= end:
      return
  raise PageError(f"its pages have {position} values, expected {end} or more")


class _Page:
  """A page: what its header says, and where its content lies."""

  def __init__(self, file: SeekableFile, start: int, header: thrift.Struct, codec: str) -> None:
    self._file, self.start, self._codec = file, start, codec
    self.kind = thrift.integer(header, 1)
    self.size = thrift.integer(header, 2)
    self.stored = thrift.integer(header, 3)
    self.count = self.encoding = self._levels = self._repetitions = 0
    self._is_packed = True
    if self.kind not in _DETAILS:
      return
    details = header.get(_DETAILS[self.kind])
    if not isinstance(details, dict):
      raise ValueError(f"nothing on a page of type {self.kind}")  # noqa: TRY004  it is damage
    self.count = thrift.integer(details, 1)
    self.encoding = thrift.integer(details, 4 if self.kind == _DATA_V2 else 2)
    if self.kind == _DATA_V2:
      self._levels, self._repetitions = thrift.integer(details, 5), thrift.integer(details, 6)
      self._is_packed = bool(details.get(7, True))
    if self.count > _MAX_COUNT:
      raise ValueError(f"{self.count} values, expected at most {_MAX_COUNT}")

  def levels(self, body: "_Body", max_level: int) -> np.ndarray:
    """Definition levels, [count]; reads them off the body of a first version page."""
    if not max_level:
      return np.zeros(self.count, np.int32)
    if self.kind == _DATA_V2:  # in front of the packed part, behind the levels of repetition
      start = self.start + self._repetitions
      data = _Stored(self._file, start, start + self._levels).read(self._levels)
    else:
      data = body.read(body.length())
    return _unpack(data, max_level.bit_length(), self.count)

  def body(self) -> "_Body":
    """The content, unpacked; of a second version page without its levels."""
    start = self.start + self._levels + self._repetitions
    stored = _Stored(self._file, start, self.start + self.stored)
    return _Body(stored, self._codec if self._is_packed else "UNCOMPRESSED")


def _pages(file: SeekableFile, chunk: pq.ColumnChunkMetaData) -> Iterator[_Page]:
  starts = (chunk.data_page_offset, chunk.dictionary_page_offset)
  position = min((start for start in starts if start), default=0)
  end = position + chunk.total_compressed_size
  if position < 0:
    raise PageError(f"its first page is at byte {position}")
  while position < end:
    try:
      header, size = thrift.read_struct(_Stored(file, position, end))
      page = _Page(file, position + size, header, chunk.compression)
    except ValueError as error:
      raise PageError(f"the header of a page at byte {position} is damaged ({error})") from error
    position = page.start + page.stored
    if position > end:
      raise PageError(f"a page at byte {page.start} ends behind its column")
    yield page


def _page_values(
  page: _Page, dictionary: "_Dictionary | None", max_level: int, skip: int
) -> Iterator[bytes | None]:
  body = page.body()
  present = page.levels(body, max_level) == max_level
  hidden = int(present[:skip].sum())
  if page.encoding == _PLAIN:
    for _ in range(hidden):
      body.skip(body.length())
    for is_there in present[skip:]:
      yield body.read(body.length()) if is_there else None
  elif page.encoding in (_PLAIN_DICTIONARY, _RLE_DICTIONARY) and dictionary is not None:
    width = body.read(1)[0]
    rest = body.read_rest()
    indexes = iter(_unpack(rest, width, int(present.sum()))[hidden:].tolist())
    for is_there in present[skip:]:
      yield dictionary[next(indexes)] if is_there else None
  else:
    raise PageError(f"a page has encoding {page.encoding}, which was not announced")


class _Dictionary:
  """The values of a dictionary page, in a temporary file."""

  def __init__(self, body: "_Body", count: int) -> None:
    self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  it goes with this object
    self._ends = array("q", [0])
    for _ in range(count):
      self._file.write(body.read(body.length()))
      self._ends.append(self._file.tell())

  def __getitem__(self, index: int) -> bytes:
    if not 0 <= index < len(self._ends) - 1:
      raise PageError(f"index {index} into a dictionary of {len(self._ends) - 1} values")
    self._file.seek(self._ends[index])
    return self._file.read(self._ends[index + 1] - self._ends[index])


class _Stored:
  """Bytes of a file from one place to another, whoever else reads it meanwhile."""

  closed = False  # as Arrow asks

  def __init__(self, file: SeekableFile, start: int, end: int) -> None:
    self._file, self._position, self._end = file, start, end

  def read(self, size: int) -> bytes:
    self._file.seek(self._position)
    data = self._file.read(max(0, min(size, self._end - self._position)))
    self._position += len(data)
    return data

  def close(self) -> None:
    """Nothing: the file is others'."""


class _Body:
  """The unpacked content of a page."""

  def __init__(self, stored: _Stored, codec: str) -> None:
    if codec == "SNAPPY":
      self._pieces = snappy.unpack(stored)
    elif codec in _STREAMED:
      stream = pa.CompressedInputStream(pa.PythonFile(stored, "r"), _STREAMED[codec])
      self._pieces = iter(lambda: stream.read(_READ), b"")
    else:
      self._pieces = iter(lambda: stored.read(_READ), b"")
    self._piece = memoryview(b"")

  def read(self, size: int) -> bytes:
    """The next bytes, all of them."""
    if size > _MAX_VALUE:
      raise PageError(f"a value of {size} bytes, expected at most {_MAX_VALUE}")
    return b"".join(self._take(size))

  def skip(self, size: int) -> None:
    """Leaves some out."""
    for _ in self._take(size):
      pass

  def length(self) -> int:
    """The length in front of a value."""
    return struct.unpack("<I", self.read(4))[0]

  def read_rest(self) -> bytes:
    """All that is left, of which there should not be much."""
    parts = [bytes(self._piece)]
    for piece in self._pieces:
      parts.append(piece)
      if len(parts) * _READ > _MAX_INDEXES:
        raise PageError("the indexes of a page are too large")
    return b"".join(parts)

  def _take(self, size: int) -> Iterator[memoryview]:
    while size:
      if not self._piece:
        try:
          self._piece = memoryview(next(self._pieces, b""))
        except (ValueError, OSError) as error:
          if isinstance(error, OSError) and error.errno is not None:
            raise
          raise PageError(f"it cannot be unpacked ({error})") from error
        if not self._piece:
          raise PageError("a page ends inside a value")
      part, self._piece = self._piece[:size], self._piece[size:]
      size -= len(part)
      yield part


def _unpack(data: bytes, width: int, count: int) -> np.ndarray:
  """Parquet's mixture of run lengths and packed bits, [count] int32."""
  if width > 31:
    raise PageError(f"numbers of {width} bits, expected at most 31")
  if not width:
    return np.zeros(count, np.int32)
  places = 1 << np.arange(width, dtype=np.int32)
  parts, found, position = [], 0, 0
  while found < count:
    try:
      header, position = wire.read_varint(data, position, len(data))
    except wire.WireError as error:
      raise PageError(f"levels or indexes end after {found} of {count}") from error
    if header & 1:
      stop = position + (header >> 1) * width
      bits = np.unpackbits(np.frombuffer(data[position:stop], np.uint8), bitorder="little")
      part = bits[: bits.size // width * width].reshape(-1, width).astype(np.int32) @ places
    else:
      stop = position + (width + 7) // 8
      value = int.from_bytes(data[position:stop], "little")
      part = np.full(min(header >> 1, count - found), value, np.int32)
    if not part.size:
      raise PageError(f"levels or indexes end after {found} of {count}")
    parts.append(part)
    found, position = found + part.size, stop
  return np.concatenate(parts)[:count] if parts else np.zeros(0, np.int32)
