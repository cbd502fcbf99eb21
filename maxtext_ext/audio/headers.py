"""What libsndfile does not say of a file: that it is cut or damaged, or its length a guess."""

import functools
import os
import struct
from typing import Protocol, runtime_checkable

# A program that writes a WAV into a pipe cannot know its size: sox, libsndfile and others leave
# one of these, ffmpeg and its like a number just under 2**32.
_UNKNOWN_SIZES = (0, 0x7FFFF000, 0x7FFFFFFF)
_UNKNOWN_FROM = 0xFFFFFF00
_MAX_CHUNKS = 10_000  # in front of the sound; a recording has about five
_PLAIN_ENCODINGS = (1, 3)  # of WAV: integers and floats
_MAX_SPHERE_HEADER = 1024
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


def find_damage(file: SeekableFile) -> str | None:
  """Says where a file is cut short or its header lies; None for a sound one, and for most formats.

  libsndfile reads what is left of a file in WAV, AIFF, AU, Sphere or OGG without a word.

  Args:
    file: seekable; it stands at its start afterwards.
  """
  size = file.seek(0, os.SEEK_END)
  file.seek(0)
  find = _FIND_DAMAGE.get(file.read(4))
  found = find(file, size) if find else None
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


def _find_damage_in_chunks(
  file: SeekableFile, size: int, *, kind: str = "WAV", order: str = "<", sound: bytes = b"data"
) -> str | None:
  """Walks over the chunks of WAV or AIFF, which differ in byte order and in names."""
  position = 12
  declared = None  # in RF64, which has no room for it where it should stand
  for _ in range(_MAX_CHUNKS):
    file.seek(position)
    header = file.read(8)
    if len(header) < 8:
      break
    name, length = struct.unpack(f"{order}4sI", header)
    position += 8
    if name == b"fmt " and (damage := _find_damage_in_fmt(file.read(16), order)):
      return damage
    if name == b"ds64" and len(sizes := file.read(16)) == 16:
      declared = int.from_bytes(sizes[8:], "little")
    if name == sound:
      known = length not in _UNKNOWN_SIZES and length < _UNKNOWN_FROM
      wanted = length if known else declared or 0
      if position + wanted > size:
        return f"{kind} file is cut short: its data chunk has {size - position} of {wanted} bytes"
      return None
    position += length + length % 2
  return f"{kind} file is cut short: no data chunk in its {size} bytes"


def _find_damage_in_fmt(fmt: bytes, order: str) -> str | None:
  """libsndfile believes the bits a sample, and reads noise where they are wrong."""
  if len(fmt) < 16:
    return None
  tag, channels, _, _, frame, bits = struct.unpack(f"{order}HHIIHH", fmt)
  if tag not in _PLAIN_ENCODINGS:
    return None
  if bits < 8 or (frame and frame != channels * -(-bits // 8)):
    return (
      f"WAV header is damaged: {bits} bits a sample, {channels} channels, {frame} bytes a frame"
    )
  return None


def _find_cut_au(file: SeekableFile, size: int) -> str | None:
  file.seek(4)
  header = file.read(8)
  if len(header) < 8:
    return None
  start, length = struct.unpack(">II", header)
  if length < _UNKNOWN_FROM and start + length > size:
    return f"AU file is cut short: its sound has {max(0, size - start)} of {length} bytes"
  return None


def _find_cut_sphere(file: SeekableFile, size: int) -> str | None:
  """Its header is lines of text such as "sample_count -i 16000"."""
  file.seek(0)
  words = file.read(_MAX_SPHERE_HEADER).split()
  values = {
    name: int(value)
    for name, kind, value in zip(words, words[1:], words[2:], strict=False)
    if kind == b"-i" and value.isdigit()
  }
  if len(words) < 2 or not words[1].isdigit() or b"shorten" in b" ".join(words[:99]):
    return None
  frame = values.get(b"sample_n_bytes", 0) * values.get(b"channel_count", 1)
  end = int(words[1]) + values.get(b"sample_count", 0) * frame
  return f"Sphere file is cut short: it ends at byte {size} of {end}" if end > size else None


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


_FIND_DAMAGE = {
  b"RIFF": _find_damage_in_chunks,
  b"RF64": _find_damage_in_chunks,
  b"RIFX": functools.partial(_find_damage_in_chunks, order=">"),
  b"FORM": functools.partial(_find_damage_in_chunks, kind="AIFF", order=">", sound=b"SSND"),
  b".snd": _find_cut_au,
  b"NIST": _find_cut_sphere,
  b"OggS": _find_cut_ogg,
}
