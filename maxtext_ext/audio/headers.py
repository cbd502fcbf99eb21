"""What libsndfile does not say of a file: that it is cut, or that its length is a guess."""

import os
import struct
from typing import Protocol, runtime_checkable

# A program that writes a WAV into a pipe cannot know its size: sox, libsndfile and others leave
# one of these, ffmpeg and its like a number just under 2**32.
_UNKNOWN_SIZES = (0, 0x7FFFF000, 0x7FFFFFFF)
_UNKNOWN_FROM = 0xFFFFFF00
_MAX_CHUNKS = 10_000  # in front of the sound; a recording has about five
_MAX_PAGE = 27 + 255 + 255 * 255  # bytes of an Ogg page
_MPEG_TAGS = (b"Xing", b"Info", b"VBRI")  # in an MP3's first frame, with the number of frames


@runtime_checkable
class SeekableFile(Protocol):
  """A file of bytes open for reading, on disk, in memory or far away."""

  def read(self, size: int = -1, /) -> bytes:
    """The next bytes, all of them by default."""
    ...

  def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
    """Goes to a place and returns its distance from the start."""
    ...


def find_cut(file: SeekableFile) -> str | None:
  """Says where a WAV or OGG file is cut short; None for a whole one and for any other format.

  libsndfile reads what is left of such a file without a word.

  Args:
    file: seekable; it stands at its start afterwards.
  """
  size = file.seek(0, os.SEEK_END)
  file.seek(0)
  magic = file.read(4)
  found = None
  if magic == b"RIFF":
    found = _find_cut_wav(file, size)
  elif magic == b"OggS":
    found = _find_cut_ogg(file, size)
  file.seek(0)
  return found


def find_undeclared(file: SeekableFile) -> str | None:
  """Says "mp3" or "flac" for such a file that does not declare its length; None for all others.

  A program that writes into a pipe cannot go back to fill it in. libsndfile then guesses from the
  first frame of an MP3, and loses the end where the bit rate varies; it cannot read such a FLAC.

  Args:
    file: seekable; it stands at its start afterwards.
  """
  file.seek(0)
  head = file.read(256)
  if head[:3] == b"ID3" and len(head) >= 10:
    a, b, c, d = head[6:10]
    file.seek(10 + (a << 21 | b << 14 | c << 7 | d))
    head = file.read(256)
  file.seek(0)
  if head[:4] == b"fLaC" and len(head) >= 26:
    samples = int.from_bytes(head[21:26], "big") & 0xF_FFFF_FFFF
    return None if samples else "flac"
  is_mpeg = len(head) >= 4 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06
  return "mp3" if is_mpeg and not any(tag in head for tag in _MPEG_TAGS) else None


def _find_cut_wav(file: SeekableFile, size: int) -> str | None:
  position = 12
  for _ in range(_MAX_CHUNKS):
    file.seek(position)
    header = file.read(8)
    if len(header) < 8:
      break
    name, length = struct.unpack("<4sI", header)
    position += 8
    if name == b"data":
      known = length not in _UNKNOWN_SIZES and length < _UNKNOWN_FROM
      if known and position + length > size:
        return f"WAV file is cut short: its data chunk has {size - position} of {length} bytes"
      return None
    position += length + length % 2
  return f"WAV file is cut short: no data chunk in its {size} bytes"


def _find_cut_ogg(file: SeekableFile, size: int) -> str | None:
  """The last page has to be whole."""
  start = max(0, size - _MAX_PAGE)
  file.seek(start)
  tail = file.read(_MAX_PAGE)
  page = tail.rfind(b"OggS")
  table = page + 27
  if page < 0 or table > len(tail):
    return f"OGG file is cut short: its {size} bytes do not end with a whole page"
  segments = tail[table - 1]
  end = table + segments + sum(tail[table : table + segments])
  if table + segments > len(tail) or end > len(tail):
    return f"OGG file is cut short: its last page ends at byte {start + end} of {size}"
  return None
