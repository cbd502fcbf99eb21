"""Detection of truncated or damaged sound files, which libsndfile reads silently."""

import dataclasses
import functools
import os
import struct
from collections.abc import Callable, Container
from typing import Protocol, runtime_checkable

# A program that writes into a pipe cannot know the size of the sound. It leaves 0, or a number of
# whole frames just under 2**31 (sox, arecord) or 2**32 (ffmpeg, lame); sox has its own for AIFF,
# and RF64 has numbers twice as wide.
_UNKNOWN = (
  range(0x7FFF_0000, 0x8000_0001),
  range(0xFFFF_0000, 1 << 32),
  range(0x7FFF_FFFF_FFFF_0000, 0x8000_0000_0000_0001),
  range(0xFFFF_FFFF_FFFF_0000, 1 << 64),
)
_UNKNOWN_AIFF = range(0x7EFF_0000, 0x7F00_0010)
_EMPTY_AIFF = 8  # bytes of a chunk of sound before the sound
_MAX_CHUNKS = 10_000  # in front of the sound; a recording has about five
_PLAIN_ENCODINGS = (1, 3)  # of WAV: integers and floats
_MAX_SPHERE_HEADER = 1024
_MAX_PAGE = 27 + 255 + 255 * 255  # bytes of an Ogg page
_MPEG_TAGS = (b"Xing", b"Info", b"VBRI")  # in an MP3's first frame, with the number of frames


@runtime_checkable
class SeekableFile(Protocol):
  """Binary file open for reading: on disk, in memory or remote."""

  def read(self, size: int = -1, /) -> bytes:
    """Reads the next bytes, by default all that are left."""
    ...

  def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
    """Goes to a place and returns its distance from the start."""
    ...


def find_damage(file: SeekableFile) -> str | None:
  """Describes how a file is truncated or its header wrong; None if intact or of another format.

  libsndfile reads truncated WAV, AIFF, AU, Sphere and OGG files without an error.

  Args:
    file: seekable; it stands at its start afterwards.
  """
  size = file.seek(0, os.SEEK_END)
  file.seek(0)
  find = _FIND_DAMAGE.get(file.read(4))
  damage = find(file, size) if find else None
  file.seek(0)
  return damage


def skip_id3(file: SeekableFile, start: int = 0) -> int:
  """Returns the place of the sound in a file that begins at `start`, behind any tags of MP3."""
  file.seek(start)
  head = file.read(10)
  while head[:3] == b"ID3" and len(head) == 10:
    a, b, c, d = head[6:]
    start += 10 + (a << 21 | b << 14 | c << 7 | d)
    file.seek(start)
    head = file.read(10)
  return start


def find_undeclared(file: SeekableFile) -> str | None:
  """Returns "mp3" or "flac" for such a file that does not declare its length, else None.

  A program that writes into a pipe cannot go back to fill it in. libsndfile then guesses from the
  first frame of an MP3, and loses the end where the bit rate varies; it cannot read such a FLAC.

  Args:
    file: seekable; it stands at its start afterwards.
  """
  file.seek(skip_id3(file))
  head = file.read(256)
  file.seek(0)
  if head[:4] == b"fLaC" and len(head) >= 26:
    samples = int.from_bytes(head[21:26], "big") & 0xF_FFFF_FFFF
    return None if samples else "flac"
  is_mpeg = len(head) >= 4 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06
  return "mp3" if is_mpeg and not any(tag in head for tag in _MPEG_TAGS) else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Sound:
  """Place of the sound in a file.

  Attributes:
    start: its first byte.
    length: bytes that it has, as the header says; None where it does not know.
    field: where in the header that stands.
    form: how, see `struct`.
  """

  start: int
  length: int | None
  field: int
  form: str


def find_unknown_size(file: SeekableFile) -> tuple[int, bytes] | None:
  """Finds the header field to patch in a file whose writer did not know its size.

  Args:
    file: seekable; it stands at its start afterwards.

  Returns:
    Position and bytes that say that the sound goes to the end of the file; None for a header that
    knows, or where no sound follows.
  """
  size = file.seek(0, os.SEEK_END)
  file.seek(0)
  find = _FIND_SOUND.get(file.read(4))
  sound = find(file, size) if find else None
  patch = None
  if isinstance(sound, _Sound) and sound.length is None:
    rest = size - sound.start
    if rest > 0 and not _are_chunks(file, sound.start, size, sound.form[0]):
      patch = (
        sound.field,
        struct.pack(sound.form, min(rest, 256 ** struct.calcsize(sound.form) - 1)),
      )
  file.seek(0)
  return patch


def _are_chunks(file: SeekableFile, position: int, size: int, order: str) -> bool:
  """Returns whether nothing but whole chunks follows, as behind a recording without sound."""
  for _ in range(_MAX_CHUNKS):
    if position >= size:
      return position - size in (0, 1)
    file.seek(position)
    header = file.read(8)
    if len(header) < 8 or not header[:4].decode("latin-1").isprintable():
      return False
    length = struct.unpack(f"{order}I", header[4:])[0]
    position += 8 + length + length % 2
  return False


def _find_damage_in_chunks(
  file: SeekableFile, size: int, find: Callable[..., _Sound | str | None], kind: str
) -> str | None:
  sound = find(file, size)
  if not isinstance(sound, _Sound):
    return sound
  if sound.length is not None and sound.start + sound.length > size:
    return (
      f"{kind} file is cut short: its data chunk has {size - sound.start} of {sound.length} bytes"
    )
  return None


def _find_sound_in_chunks(
  file: SeekableFile,
  size: int,
  *,
  kind: str = "WAV",
  types: Container[bytes] = (b"WAVE",),
  order: str = "<",
  name: bytes = b"data",
) -> _Sound | str | None:
  """Walks over the chunks of WAV or AIFF, which differ in byte order and in names.

  Returns:
    The sound, what is wrong with the header, or None for a file of another type (a film in AVI).
  """
  file.seek(8)
  if file.read(4) not in types:
    return None
  position = 12
  wide = None  # position of the size in RF64, which has no room for it where it should stand
  for _ in range(_MAX_CHUNKS):
    file.seek(position)
    header = file.read(8)
    if len(header) < 8:
      break
    chunk, length = struct.unpack(f"{order}4sI", header)
    position += 8
    if chunk == b"fmt " and (damage := _find_damage_in_fmt(file.read(16), order)):
      return damage
    if chunk == b"ds64":
      wide = position + 8
    if chunk == name:
      field, form = position - 4, f"{order}I"
      if wide is not None and length == 0xFFFF_FFFF:
        file.seek(wide)
        field, form = wide, f"{order}Q"
        length = int.from_bytes(file.read(8), "little")
      is_known = length and not any(length in numbers for numbers in _UNKNOWN)
      if name == b"SSND":
        is_known = is_known and length not in _UNKNOWN_AIFF and length != _EMPTY_AIFF
      return _Sound(start=position, length=length if is_known else None, field=field, form=form)
    position += length + length % 2
  return f"{kind} file is cut short: no data chunk in its {size} bytes"


def _find_damage_in_fmt(fmt: bytes, order: str) -> str | None:
  """Checks the bits per sample: libsndfile trusts them, and reads noise where they are wrong."""
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


def _find_sound_in_au(file: SeekableFile, size: int) -> _Sound | None:
  file.seek(4)
  header = file.read(8)
  if len(header) < 8:
    return None
  start, length = struct.unpack(">II", header)
  is_known = length and not any(length in numbers for numbers in _UNKNOWN)
  return _Sound(start=start, length=length if is_known else None, field=8, form=">I")


def _find_cut_au(file: SeekableFile, size: int) -> str | None:
  sound = _find_sound_in_au(file, size)
  if sound and sound.length is not None and sound.start + sound.length > size:
    return (
      f"AU file is cut short: its sound has {max(0, size - sound.start)} of {sound.length} bytes"
    )
  return None


def _find_cut_sphere(file: SeekableFile, size: int) -> str | None:
  """Compares a Sphere header's text, such as "sample_count -i 16000", with the file's size."""
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
  """Checks that the last OGG page is complete."""
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


_find_in_wav = _find_sound_in_chunks
_find_in_rifx = functools.partial(_find_sound_in_chunks, order=">")
_find_in_aiff = functools.partial(
  _find_sound_in_chunks, kind="AIFF", types=(b"AIFF", b"AIFC"), order=">", name=b"SSND"
)
_FIND_SOUND: dict[bytes, Callable[[SeekableFile, int], object]] = {
  b"RIFF": _find_in_wav,
  b"RF64": _find_in_wav,
  b"RIFX": _find_in_rifx,
  b"FORM": _find_in_aiff,
  b".snd": _find_sound_in_au,
}
_FIND_DAMAGE: dict[bytes, Callable[[SeekableFile, int], str | None]] = {
  b"RIFF": functools.partial(_find_damage_in_chunks, find=_find_in_wav, kind="WAV"),
  b"RF64": functools.partial(_find_damage_in_chunks, find=_find_in_wav, kind="WAV"),
  b"RIFX": functools.partial(_find_damage_in_chunks, find=_find_in_rifx, kind="WAV"),
  b"FORM": functools.partial(_find_damage_in_chunks, find=_find_in_aiff, kind="AIFF"),
  b".snd": _find_cut_au,
  b"NIST": _find_cut_sphere,
  b"OggS": _find_cut_ogg,
}
