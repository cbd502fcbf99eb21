"""Protobuf wire format, as far as a tf.train.Example needs it.

Source: https://protobuf.dev/programming-guides/encoding/. Written out here because TensorFlow is
0.5 GB to install and the protobuf package would parse a float_list value by value.
"""

import itertools
from collections.abc import Iterator

import numpy as np

VARINT, FIXED64, LEN, FIXED32 = 0, 1, 2, 5

Span = tuple[int, int]  # start and end of a part of the message


class WireError(ValueError):
  """The bytes are not a protobuf message; the text gives the position of the fault."""


def read_varint(data: bytes, position: int, end: int) -> tuple[int, int]:
  """Reads one varint of data[position:end]; returns its value (unsigned) and where it ends."""
  value = shift = 0
  while position < end:
    byte = data[position]
    position += 1
    value |= (byte & 0x7F) << shift
    if byte < 0x80:
      return value & 0xFFFF_FFFF_FFFF_FFFF, position
    shift += 7
    if shift >= 70:
      raise WireError(f"varint of more than 10 bytes at byte {position}")
  raise WireError(f"varint is cut at byte {end}")


def write_varint(value: int) -> bytes:
  """The varint of an integer; negative ones as 64-bit two's complement, as protobuf has it."""
  value &= 0xFFFF_FFFF_FFFF_FFFF
  out = bytearray()
  while value >= 0x80:
    out.append(value & 0x7F | 0x80)
    value >>= 7
  out.append(value)
  return bytes(out)


def read_fields(data: bytes, span: Span) -> Iterator[tuple[int, int, Span]]:
  """Walks over the fields of one message.

  Args:
    data: bytes that hold the message.
    span: where in them it stands.

  Yields:
    Field number, wire type and the span of its payload (for LEN: without the length).

  Raises:
    WireError: a field does not fit into the message.
  """
  position, end = span
  while position < end:
    # Nearly every varint here is one byte, and this loop is what reading a record costs.
    tag, start = data[position], position + 1
    if tag >= 0x80:
      tag, start = read_varint(data, position, end)
    number, wire = tag >> 3, tag & 7
    if wire == LEN:
      size = data[start] if start < end else 0x80
      if size < 0x80:
        start += 1
      else:
        size, start = read_varint(data, start, end)
      stop = start + size
    elif wire == VARINT:
      stop = read_varint(data, start, end)[1]
    elif wire == FIXED32:
      stop = start + 4
    elif wire == FIXED64:
      stop = start + 8
    else:
      raise WireError(f"unknown wire type {wire} at byte {position}")
    if not number or stop > end:
      raise WireError(f"field {number} at byte {position} ends at {stop}, its message at {end}")
    yield number, wire, (start, stop)
    position = stop


def write_field(number: int, payload: bytes) -> bytes:
  """A length-delimited field: a sub-message, a string or packed numbers."""
  return b"".join((write_varint(number << 3 | LEN), write_varint(len(payload)), payload))


def read_floats(data: bytes, span: Span) -> np.ndarray:
  """The `repeated float value = 1` of a FloatList, packed or not.

  Packed values come as a read-only view of `data`, unaligned if they happen to stand so.

  Returns:
    [T] float32.
  """
  start, stop = span
  # Unpacked from end to end: tag, 4 bytes, tag, 4 bytes ... A packed list starts with another tag.
  if stop > start and data[start] == 1 << 3 | FIXED32 and (stop - start) % 5 == 0:
    rows = np.frombuffer(data, np.uint8, stop - start, start).reshape(-1, 5)
    if (rows[:, 0] == 1 << 3 | FIXED32).all():
      return np.ascontiguousarray(rows[:, 1:]).view("<f4").reshape(-1)
  parts = []
  for number, wire, (first, last) in read_fields(data, span):
    if number != 1:
      continue
    if wire not in (LEN, FIXED32) or (last - first) % 4:
      raise WireError(f"float_list at byte {first} has wire type {wire}, {last - first} bytes")
    parts.append(np.frombuffer(data, "<f4", (last - first) // 4, first))
  if len(parts) == 1:
    return parts[0]
  return np.concatenate(parts) if parts else np.zeros(0, "<f4")


def read_integers(data: bytes, span: Span) -> list[int]:
  """The `repeated int64 value = 1` of an Int64List, packed or not."""
  values = []
  for number, wire, (position, stop) in read_fields(data, span):
    if number != 1:
      continue
    if wire not in (LEN, VARINT):
      raise WireError(f"int64_list at byte {position} has wire type {wire}")
    while position < stop:
      value, position = read_varint(data, position, stop)
      values.append(value - (1 << 64) if value >> 63 else value)
  return values


def read_integer_array(data: bytes, span: Span) -> np.ndarray:
  """Reads the same as int64 [N], for lists of samples: decodes a packed list at once."""
  start, stop = span
  fields = list(itertools.islice(read_fields(data, span), 2))
  if len(fields) != 1 or fields[0][:2] != (1, LEN):
    return np.array(read_integers(data, span), np.int64)
  start, stop = fields[0][2]
  packed = np.frombuffer(data, np.uint8, stop - start, start)
  ends = np.flatnonzero(packed < 0x80)
  if len(packed) and (not len(ends) or ends[-1] != len(packed) - 1):
    raise WireError(f"varint is cut at byte {stop}")
  starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64) if len(ends) else ends
  sizes = ends - starts + 1
  if len(sizes) and sizes.max() > 10:
    raise WireError(f"varint of more than 10 bytes behind byte {start}")
  values = np.zeros(len(ends), np.uint64)
  for index in range(int(sizes.max(initial=0))):
    longer = sizes > index
    bits = packed[starts[longer] + index].astype(np.uint64) & np.uint64(0x7F)
    values[longer] |= bits << np.uint64(7 * index)
  return values.view(np.int64)


def read_strings(data: bytes, span: Span) -> list[bytes]:
  """The `repeated bytes value = 1` of a BytesList."""
  return [data[start:stop] for start, stop in string_spans(data, span)]


def string_spans(data: bytes, span: Span) -> list[Span]:
  """Finds the spans of the `repeated bytes value = 1` of a BytesList."""
  spans = []
  for number, wire, found in read_fields(data, span):
    if number != 1:
      continue
    if wire != LEN:
      raise WireError(f"bytes_list at byte {found[0]} has wire type {wire}")
    spans.append(found)
  return spans
