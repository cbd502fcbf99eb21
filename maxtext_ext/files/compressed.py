"""Compressed files, detected by their first bytes: gzip, bzip2, xz and zstd."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import IO, cast

SUFFIXES = (".gz", ".bz2", ".xz", ".zst")
# What reading damaged content ends in, beside an OSError without the operating system's number.
DAMAGE = (EOFError, zlib.error, lzma.LZMAError, ValueError)


def decompress(file: io.BufferedIOBase) -> io.BufferedIOBase:
  """A stream of the content of an open file, from its beginning; the file itself if it is plain.

  Args:
    file: can be seeked.

  Returns:
    A stream to read; to go back in it, open it again.
  """
  magic = file.read(_LONGEST)
  file.seek(0)
  for start, opener in _OPENERS.items():
    if magic.startswith(start):
      return opener(file)
  return file


def skip(file: io.BufferedIOBase, count: int) -> None:
  """Reads over so many bytes of a stream, or up to its end."""
  while count and (block := file.read(min(count, io.DEFAULT_BUFFER_SIZE * 16))):
    count -= len(block)


def is_damage(error: Exception) -> bool:
  """Returns whether an error of reading comes from the content, not from the operating system."""
  if isinstance(error, OSError):
    return error.errno is None
  return isinstance(error, DAMAGE)


class _Lent:
  """File that stays open when Arrow closes it."""

  closed = False

  def __init__(self, file: io.BufferedIOBase) -> None:
    self.read = file.read

  def close(self) -> None:
    """Does nothing."""


def _open_xz(file: io.BufferedIOBase) -> io.BufferedIOBase:
  return lzma.LZMAFile(cast(IO[bytes], file))


def _open_zstd(file: io.BufferedIOBase) -> io.BufferedIOBase:
  import pyarrow as pa  # takes a tenth of a second to import

  stream = pa.CompressedInputStream(pa.PythonFile(_Lent(file), "r"), "zstd")
  return io.BufferedReader(cast(io.RawIOBase, stream), 1 << 16)


_OPENERS: dict[bytes, Callable[[io.BufferedIOBase], io.BufferedIOBase]] = {
  b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
  b"BZh": bz2.BZ2File,
  b"\xfd7zXZ\0": _open_xz,
  b"\x28\xb5\x2f\xfd": _open_zstd,
}
_LONGEST = max(map(len, _OPENERS))
