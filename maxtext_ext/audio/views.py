"""File wrappers for decoders: they keep read errors, patch a header or show one part of a file."""

import io
import os
from collections.abc import Buffer

from maxtext_ext.audio.integrity import SeekableFile


class View(io.RawIOBase):
  """A part of a file, with some bytes replaced; read errors are kept.

  libsndfile treats an error of the operating system as the end of the file.

  Attributes:
    error: the first one.
  """

  def __init__(
    self,
    file: SeekableFile,
    start: int = 0,
    end: int | None = None,
    patch: tuple[int, bytes] | None = None,
  ) -> None:
    """Shows the bytes from `start` to `end` (None: all the rest).

    Args:
      file: it is not closed, and should not be read by others meanwhile.
      start: first byte.
      end: exclusive.
      patch: position in the view, and the bytes to be seen there.
    """
    self._file = file
    self._start = start
    self._end = file.seek(0, os.SEEK_END) if end is None else end
    self._patch = patch
    self._position = 0
    self.error: OSError | None = None

  def readinto(self, buffer: Buffer) -> int:
    """Fills a buffer as far as the file goes."""
    view = memoryview(buffer).cast("B")
    position, size = self._position, self._end - self._start
    wanted = max(0, min(len(view), size - position))
    try:
      self._file.seek(self._start + position)
      data = self._file.read(wanted) if wanted else b""
    except OSError as error:
      self.error = self.error or error
      return 0
    view[: len(data)] = data
    if self._patch:
      at, patch = self._patch[0] - position, self._patch[1]
      first, last = max(0, at), min(len(data), at + len(patch))
      if first < last:
        view[first:last] = patch[first - at : last - at]
    self._position += len(data)
    return len(data)

  def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
    """Goes to a place, never in front of the file: a broken header may lead there."""
    base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end - self._start}
    wanted = base[whence] + offset
    if 0 <= wanted < 1 << 62:
      self._position = wanted
    return self._position

  def tell(self) -> int:
    """Returns the current position."""
    return self._position

  def readable(self) -> bool:
    """Returns True."""
    return True

  def seekable(self) -> bool:
    """Returns True."""
    return True
