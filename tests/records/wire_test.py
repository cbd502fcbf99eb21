"""The wire format, held against the encoding guide's own examples and against itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.records import wire


@pytest.mark.parametrize(
  ("value", "encoded"),
  [
    (0, b"\x00"),
    (1, b"\x01"),
    (127, b"\x7f"),
    (150, b"\x96\x01"),  # the guide's example
    (-1, b"\xff" * 9 + b"\x01"),
  ],
)
def test_varint(value, encoded):
  assert wire.write_varint(value) == encoded
  assert wire.read_varint(encoded, 0, len(encoded)) == (value % 2**64, len(encoded))


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_integers_round_trip_packed_and_not(values):
  packed = wire.write_field(1, b"".join(wire.write_varint(value) for value in values))
  unpacked = b"".join(b"\x08" + wire.write_varint(value) for value in values)
  for data in (packed, unpacked, packed + b"\x12\x01x"):  # the last with an unknown field
    assert wire.read_integers(data, (0, len(data))) == values


@given(
  st.lists(st.tuples(st.booleans(), st.lists(st.floats(width=32, allow_nan=False)))),
  st.binary(max_size=3),
)
def test_floats_in_any_mix_of_packed_and_unpacked(groups, before):
  data = b"".join(
    wire.write_field(1, np.array(values, "<f4").tobytes())
    if packed
    else b"".join(b"\x0d" + np.float32(value).tobytes() for value in values)
    for packed, values in groups
  )
  expected = np.array([value for _, values in groups for value in values], np.float32)
  got = wire.read_floats(before + data, (len(before), len(before) + len(data)))
  np.testing.assert_array_equal(got, expected)


def test_packed_floats_are_not_copied():
  data = wire.write_field(1, np.arange(1000, dtype="<f4").tobytes())
  values = wire.read_floats(data, (0, len(data)))
  assert np.shares_memory(values, np.frombuffer(data, np.uint8))


@pytest.mark.parametrize(
  ("data", "reason"),
  [
    (b"\x0a", "varint is cut"),
    (b"\x0a\x05abc", "field 1 at byte 0 ends at 7, its message at 5"),
    (b"\x0d\x00\x00", "ends at 5"),
    (b"\x09\x00", "ends at 9"),
    (b"\x0b", "unknown wire type 3"),
    (b"\x02\x00", "field 0"),
    (b"\xff" * 11, "more than 10 bytes"),
    (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "its message at 11"),  # 2**64 - 1 bytes
  ],
)
def test_broken_messages(data, reason):
  with pytest.raises(wire.WireError, match=reason):
    list(wire.read_fields(data, (0, len(data))))


def test_values_of_a_wrong_type():
  for read, data in [
    (wire.read_floats, wire.write_field(1, b"12345")),  # not a multiple of 4 bytes
    (wire.read_integers, b"\x0d\x00\x00\x00\x00"),
    (wire.read_strings, b"\x08\x01"),
  ]:
    with pytest.raises(wire.WireError):
      read(data, (0, len(data)))
