"""Sound files that were joined byte by byte (`cat a.ogg b.ogg`): where the second one begins.

Decoders read the first and stop, or take the header of the next for sound.
"""

import dataclasses
import os
import re

from maxtext_ext.audio.integrity import SeekableFile, skip_id3

_MAX_FILES = 1_000
_BLOCK = 1 << 20
_HEADER = 64  # bytes that tell the beginning of a file
_MAX_FRAME = 1_441  # bytes of an MPEG frame, layer III
_OGG_HEAD = 27  # bytes of the header of a page, before its table


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Beginning:
  """Beginning of the files of a format.

  Attributes:
    mark: bytes that are searched for.
    at: where in the header they stand.
    header: what the whole header is like.
  """

  mark: bytes
  at: int
  header: re.Pattern[bytes]


def _beginning(mark: bytes, header: bytes, at: int = 0) -> _Beginning:
  return _Beginning(mark=mark, at=at, header=re.compile(header, re.DOTALL))


# By their first bytes; those of MP4 stand behind the size of its first box.
_BEGINNINGS = {
  b"RIFF": _beginning(b"RIFF", rb"RIFF.{4}WAVE"),
  b"RF64": _beginning(b"RF64", rb"RF64.{4}WAVE"),
  b"FORM": _beginning(b"FORM", rb"FORM.{4}AIF[FC]"),
  b".snd": _beginning(b".snd", rb"\.snd\x00\x00.{6}\x00\x00\x00"),
  b"fLaC": _beginning(b"fLaC", rb"fLaC[\x00\x80]\x00\x00\x22"),
  b"OggS": _beginning(b"OggS\x00\x02", rb"OggS\x00\x02.{20}"),
  b"\x1aE\xdf\xa3": _beginning(b"\x1aE\xdf\xa3", rb"\x1aE\xdf\xa3.{0,50}\x42\x82.(webm|matroska)"),
  b"ftyp": _beginning(b"ftyp", rb"\x00\x00\x00.ftyp[ -~]{4}", at=4),
}
_ID3 = _beginning(b"ID3", rb"ID3[\x02-\x04]\x00.[\x00-\x7f]{4}")


def find_joints(file: SeekableFile) -> list[int]:
  """Finds the places where further files of the same format begin; empty for a single file.

  Reads the whole file, unless its header says that it ends where the file does.

  Args:
    file: seekable; it stands at its start afterwards.

  Raises:
    ValueError: there are too many.
  """
  size = file.seek(0, os.SEEK_END)
  file.seek(0)
  start = skip_id3(file)
  file.seek(start)
  head = file.read(_HEADER)
  beginning = _BEGINNINGS.get(head[:4]) or _BEGINNINGS.get(head[4:8])
  if beginning is None:
    joints = _find_in_mpeg(file, size)
  elif _ends_with_file(head, size):
    joints = []
  else:
    joints = _search(file, beginning, start + 1)
  if beginning and beginning.mark.startswith(b"OggS"):
    joints = _without_tracks(file, joints)
  file.seek(0)
  if len(joints) >= _MAX_FILES:
    raise ValueError(f"{len(joints) + 1} files joined into one, expected {_MAX_FILES} at most")
  return joints


def _ends_with_file(head: bytes, size: int) -> bool:
  """Returns whether a RIFF or FORM file says that nothing follows."""
  if head[:4] not in (b"RIFF", b"FORM"):
    return False
  length = int.from_bytes(head[4:8], "little" if head[:1] == b"R" else "big")
  return size <= 8 + length + length % 2 and length < 0x7EFF_0000


def _search(file: SeekableFile, beginning: _Beginning, start: int) -> list[int]:
  starts = []
  file.seek(start)
  before, position = b"", start  # of `before` in the file
  while block := file.read(_BLOCK):
    data = before + block
    at = data.find(beginning.mark)
    while at >= 0:
      first = at - beginning.at
      if first >= 0 and beginning.header.match(data, first):
        starts.append(position + first)
        if len(starts) >= _MAX_FILES:
          return starts
      at = data.find(beginning.mark, at + 1)
    keep = min(len(data), 2 * _HEADER)
    before, position = data[len(data) - keep :], position + len(data) - keep
  return list(dict.fromkeys(starts))


def _without_tracks(file: SeekableFile, joints: list[int]) -> list[int]:
  """Leaves out pages that begin a second track (of a film, say) beside the first."""
  begun, end = [], _end_of_page(file, 0)
  for joint in joints:
    if joint != end:
      begun.append(joint)
    end = _end_of_page(file, joint)
  return begun


def _end_of_page(file: SeekableFile, start: int) -> int:
  file.seek(start)
  head = file.read(_OGG_HEAD + 255)
  count = head[_OGG_HEAD - 1] if len(head) >= _OGG_HEAD else 0
  return start + _OGG_HEAD + count + sum(head[_OGG_HEAD : _OGG_HEAD + count])


def _find_in_mpeg(file: SeekableFile, size: int) -> list[int]:
  """Finds the next MP3 tag, or the end of the sound that the first MP3 frame declares."""
  start = skip_id3(file)
  if not _is_mpeg(file, start):
    return []
  joints = {joint for joint in _search(file, _ID3, start) if _is_mpeg(file, skip_id3(file, joint))}
  while (end := _end_of_mpeg(file, start)) is not None and len(joints) < _MAX_FILES:
    # Some encoders do not count the first frame, so one may be left.
    is_more = _tag_of_mpeg(file, end) is not None or size - end > 2 * _MAX_FRAME
    if not (is_more and _is_mpeg(file, skip_id3(file, end))):
      break
    joints.add(end)
    start = end
  return sorted(joints)


def _end_of_mpeg(file: SeekableFile, start: int) -> int | None:
  """Returns the end (exclusive) of the sound, where the first frame declares its size."""
  first = skip_id3(file, start)
  tag = _tag_of_mpeg(file, first)
  if tag is None:
    return None
  flags = int.from_bytes(tag[4:8], "big")
  field = 8 + (4 if flags & 1 else 0)
  length = int.from_bytes(tag[field : field + 4], "big") if flags & 2 else 0
  return first + length if length else None


def _tag_of_mpeg(file: SeekableFile, start: int) -> bytes | None:
  """Returns what an encoder has written into a frame instead of sound, if it has."""
  file.seek(start)
  head = file.read(256)
  tag = _is_frame(head) and re.search(b"Xing|Info", head)
  return head[tag.start() :] if tag else None


def _is_mpeg(file: SeekableFile, start: int) -> bool:
  file.seek(start)
  return _is_frame(file.read(4))


def _is_frame(head: bytes) -> bool:
  return len(head) >= 4 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and bool(head[1] & 0x06)
