"""Structs of Thrift's compact protocol, by hand and as Arrow writes them."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.sources.thrift import integer, read_struct


def test_known_bytes():
  """Each type once, as the specification lays them out."""
  data = bytes(
    [
      *(0x15, 0x06),  # field 1, i32: 3
      *(0x15, 0x05),  # field 2, i32: -3
      *(0x16, 0xAC, 0x02),  # field 3, i64: 150
      *(0x11, 0x12),  # fields 4 and 5: true, false
      *(0x18, 0x02, 0x68, 0x69),  # field 6, binary: hi
      *(0x1C, 0x15, 0x02, 0x00),  # field 7, struct: {1: 1}
      *(0x19, 0x35, 0x02, 0x04, 0x06),  # field 8, list of i32: 1, 2, 3
      *(0x1B, 0x01, 0x88, 0x01, 0x61, 0x01, 0x62),  # field 9, map: a to b
      *(0x05, 0x28, 0x0E),  # field 20, by its long form: 7
      *(0x17, 1, 2, 3, 4, 5, 6, 7, 8),  # field 21, double
      *(0x13, 0x09),  # field 22, byte
      0x00,
    ]
  )
  fields, size = read_struct(io.BytesIO(data + b"more"))
  assert size == len(data)
  assert fields == {
    1: 3,
    2: -3,
    3: 150,
    4: True,
    5: False,
    6: b"hi",
    7: {1: 1},
    8: [1, 2, 3],
    9: [(b"a", b"b")],
    20: 7,
    21: bytes(range(1, 9)),
    22: 9,
  }


def test_a_long_struct():
  data = b"\x18\xa0\x8d\x06" + bytes(100_000) + b"\x00"
  assert read_struct(io.BytesIO(data))[1] == len(data)


@pytest.mark.parametrize(
  ("data", "reason"),
  [
    (b"", "does not end within 0 bytes"),
    (b"\x15", "does not end within 1 bytes"),
    (b"\x18\xff\xff\xff\xff\x0f", "does not end"),
    (b"\x1f\x00", "a value of type 15"),
    (b"\x1c" * 100, "structs inside structs"),
    (b"\x19" * 100_000, "lists or structs inside structs"),
    (b"\x1b\x01\xbb" + b"\x01\xbb" * 100_000, "lists or structs inside structs"),
    (b"\x19\xf5\xff\xff\xff\xff\x0f", "does not end"),
    (bytes([0x15] + [0xFF] * 11), "does not end"),
    (b"\x18\x80\x80\x80\x01" + bytes(2 << 20), "does not end within 1048576 bytes"),
  ],
)
def test_damage(data, reason):
  with pytest.raises(ValueError, match=reason):
    read_struct(io.BytesIO(data))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_struct_or_not(data):
  try:
    _, size = read_struct(io.BytesIO(data))
  except ValueError:
    return
  assert 0 < size <= len(data)


@pytest.mark.parametrize("value", [None, -1, b"x", {}])
def test_what_is_no_whole_number(value):
  with pytest.raises(ValueError, match="expected a whole number"):
    integer({1: value}, 1)
