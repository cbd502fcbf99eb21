"""Snappy's raw format, unpacked piece by piece.

The format has no pieces, but its compressor has: it works on 64 KiB at a time and never refers to
what was before. So we look for the ends of these, and let Arrow unpack each handful of them.
Source: github.com/google/snappy, format_description.txt.
"""

from collections.abc import Iterator

import pyarrow as pa

from maxtext_ext.records import wire
from maxtext_ext.sources.thrift import Readable

_FRAGMENT = 1 << 16  # bytes that the compressor takes at a time
_PIECE = 1 << 20  # bytes to unpack at a time, about
_MAX_PIECE = 64 << 20  # bytes without the end of a fragment: another compressor
_MAX_ELEMENT = 5  # bytes of an element in front of a literal


def unpack(file: Readable) -> Iterator[bytes]:
  """Unpacks a stream of one raw block.

  Args:
    file: what is packed, to its end.

  Yields:
    Its content, in order, some 1 MiB at a time.

  Raises:
    ValueError: it is damaged, or refers further back than Google's compressor does.
  """
  packed = file.read(_PIECE)
  total, start = wire.read_varint(packed, 0, len(packed))
  done = 0  # bytes given out
  for piece, size in _split(file, packed, start, total):
    unpacked = pa.decompress(wire.write_varint(size) + piece, size, "snappy", asbytes=True)
    done += len(unpacked)
    yield unpacked
  if done != total:
    raise ValueError(f"Snappy data have {done} bytes, expected {total}")


def _split(file: Readable, packed: bytes, start: int, total: int) -> Iterator[tuple[bytes, int]]:
  """Yields packed pieces that can be unpacked by themselves, and their unpacked sizes."""
  position = start  # in `packed`, of the next element
  done = size = 0  # unpacked bytes of the pieces before, and of this one
  while done + size < total:
    if position + _MAX_ELEMENT > len(packed):
      packed, position, start = packed[start:] + file.read(_PIECE), position - start, 0
      if position >= len(packed):
        raise ValueError("Snappy data are cut short")
    # As far as the next end of a fragment or of what has been read.
    left = _FRAGMENT - (done + size) % _FRAGMENT
    position, length = _skip_elements(packed, position, left)
    size += length
    if size > _MAX_PIECE:
      raise ValueError("Snappy data of a compressor that does not work on 64 KiB at a time")
    if position > len(packed):  # inside a literal
      more = file.read(max(_PIECE, position - len(packed)))
      packed, position, start = packed[start:] + more, position - start, 0
      if position > len(packed):
        raise ValueError("Snappy data are cut short")
    if length == left and size >= _PIECE:
      yield packed[start:position], size
      start, done, size = position, done + size, 0
  if size:
    yield packed[start:position], size


def _skip_elements(packed: bytes, position: int, wanted: int) -> tuple[int, int]:
  """Goes over elements until they unpack to `wanted` bytes or more, or `packed` nearly ends.

  Returns:
    Where the last one ends, and how many bytes they unpack to.
  """
  last = len(packed) - _MAX_ELEMENT
  length = 0
  while length < wanted:
    tag = packed[position]
    if tag in _LONG_LITERALS:
      first = position + 1 + (tag >> 2) - 59  # behind one to four bytes of length
      size = int.from_bytes(packed[position + 1 : first], "little") + 1
      position = first + size
      length += size
    else:
      position += _STEPS[tag]
      length += _LENGTHS[tag]
    if position > last:
      break
  return position, length


def _short_element(tag: int) -> tuple[int, int]:
  """Bytes of an element that needs no more than its tag, and what it unpacks to."""
  kind, value = tag & 3, tag >> 2
  if kind == 0:  # a literal
    return value + 2, value + 1
  if kind == 1:  # a copy of what was before
    return 2, (value & 7) + 4
  return 3 if kind == 2 else 5, value + 1


_LONG_LITERALS = frozenset(tag << 2 for tag in range(60, 64))
_STEPS, _LENGTHS = zip(*map(_short_element, range(256)), strict=True)
