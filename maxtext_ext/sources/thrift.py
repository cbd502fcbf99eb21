"""Thrift's compact protocol, as much of it as parquet needs.

Source: github.com/apache/thrift, doc/specs/thrift-compact-protocol.md.
"""

from typing import Any, Protocol, runtime_checkable

from maxtext_ext.records import wire

Struct = dict[int, Any]  # values by field number

MAX_SIZE = 1 << 20  # bytes of a struct; the statistics of a page may hold a value or two
_MAX_DEPTH = 16
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)


@runtime_checkable
class Readable(Protocol):
  """Something that bytes can be read from."""

  def read(self, size: int, /) -> bytes:
    """The next bytes, fewer at the end."""
    ...


def read_struct(file: Readable) -> tuple[Struct, int]:
  """Reads one struct.

  Returns:
    Its fields, and how many bytes it takes.

  Raises:
    ValueError: it is not one, or too large.
  """
  data = b""
  size = 4_096  # bytes; mostly far more than enough
  while True:
    data += file.read(size - len(data))
    reader = _Reader(data)
    try:
      return reader.struct(), reader.position
    except (IndexError, wire.WireError):  # cut off, if the data go on
      if len(data) < size or size >= MAX_SIZE:
        raise ValueError(f"it does not end within {len(data)} bytes") from None
      size *= 16


def integer(values: Struct, number: int) -> int:
  """A field that has to be a whole number, 0 or more.

  Raises:
    ValueError: it is not there, or something else.
  """
  value = values.get(number)
  if not isinstance(value, int) or value < 0:
    raise ValueError(f"field {number} is {value!r:.60}, expected a whole number, 0 or more")
  return value


class _Reader:
  """A place in bytes from which values are read; IndexError where they end."""

  def __init__(self, data: bytes) -> None:
    self._data = data
    self.position = 0

  def struct(self, depth: int = 0) -> Struct:
    fields: Struct = {}
    number = 0
    while head := self._byte():
      step, kind = head >> 4, head & 15
      number = number + step if step else self._zigzag()
      fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
    return fields

  def _value(self, kind: int, depth: int) -> Any:
    if depth > _MAX_DEPTH:
      raise ValueError(f"lists or structs inside structs, {depth} deep")
    if kind in (_TRUE, _FALSE, _BYTE):  # booleans in a list: a byte each
      return self._byte()
    if kind in (_I16, _I32, _I64):
      return self._zigzag()
    if kind == _DOUBLE:
      return self._bytes(8)
    if kind == _BINARY:
      return self._bytes(self._varint())
    if kind in (_LIST, _SET):
      head = self._byte()
      count = head >> 4 if head >> 4 < 15 else self._varint()
      return [self._value(head & 15, depth + 1) for _ in range(count)]
    if kind == _MAP:
      count = self._varint()
      kinds = self._byte() if count else 0
      return [
        (self._value(kinds >> 4, depth + 1), self._value(kinds & 15, depth + 1))
        for _ in range(count)
      ]
    if kind == _STRUCT:
      return self.struct(depth + 1)
    raise ValueError(f"a value of type {kind} at byte {self.position}")

  def _byte(self) -> int:
    self.position += 1
    return self._data[self.position - 1]

  def _bytes(self, size: int) -> bytes:
    end = self.position + size
    if end > len(self._data):
      raise IndexError(end)
    value, self.position = self._data[self.position : end], end
    return value

  def _varint(self) -> int:
    value, self.position = wire.read_varint(self._data, self.position, len(self._data))
    return value

  def _zigzag(self) -> int:
    value = self._varint()
    return value >> 1 ^ -(value & 1)
