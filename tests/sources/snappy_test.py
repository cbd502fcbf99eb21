"""Snappy unpacked piece by piece, against Arrow's own."""

import io

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxtext_ext.sources.snappy import unpack


def pack(data: bytes) -> bytes:
  return pa.compress(data, "snappy", asbytes=True)


def noise(size: int) -> bytes:
  return np.random.default_rng(size).bytes(size)


def speech(size: int) -> bytes:
  """Some of it can be compressed, some cannot."""
  loud = np.random.default_rng(1).normal(size=size // 2) * 40 * (1 + np.sin(np.arange(size // 2)))
  return loud.astype(np.int16).tobytes()


@pytest.mark.parametrize(
  "data",
  [
    b"",
    b"a",
    bytes(10_000_000),
    b"ab" * 700_000,
    noise(65_535),
    noise(65_536),
    noise(65_537),
    noise(5_000_000),
    speech(2_000_000),
    speech(1 << 20),
    noise(100_000) + bytes(3_000_000) + speech(500_000),
  ],
  ids=lambda data: f"{len(data)} bytes",
)
def test_same_as_arrow(data):
  pieces = list(unpack(io.BytesIO(pack(data))))
  assert b"".join(pieces) == data
  assert max(map(len, pieces), default=0) <= (1 << 20) + (1 << 16)

  def read(self, size: int = -1) -> bytes:
    return super().read(min(size, 1_000))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=30), st.integers(0, 9_000)), max_size=20))
def test_any_content(parts):
  data = b"".join(part * times for part, times in parts)
  assert b"".join(unpack(io.BytesIO(pack(data)))) == data


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damage_is_told_or_harmless(data):
  packed = bytearray(pack(speech(150_000)))
  for _ in range(data.draw(st.integers(0, 3))):
    packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
  packed = packed[: data.draw(st.integers(0, len(packed)))]
  try:
    size = sum(map(len, unpack(io.BytesIO(bytes(packed)))))
  except (ValueError, OSError):
    return
  assert size < 1 << 30


def test_cut_short():
  packed = pack(noise(300_000))
  for stop in (0, 3, 10, 70_000, len(packed) - 1):
    with pytest.raises(ValueError, match=r"cut|end"):
      list(unpack(io.BytesIO(packed[:stop])))


def test_a_literal_of_gigabytes_allocates_nothing():
  literal = bytes([0xFC, *(2**31).to_bytes(4, "little")])  # four bytes of length
  with pytest.raises(ValueError, match="64 KiB at a time"):
    list(unpack(io.BytesIO(b"\xff\xff\xff\xff\x0f" + literal + bytes(100))))
