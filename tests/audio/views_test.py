"""A part of a file, or one with other bytes in it, is read as a file of its own."""

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.audio.views import View

DATA = bytes(range(100))


@given(
  st.integers(0, 100), st.integers(0, 100), st.integers(0, 99), st.lists(st.integers(-120, 120))
)
def test_it_is_like_the_bytes_themselves(first, last, at, moves):
  first, last = min(first, last), max(first, last)
  expected = bytearray(DATA[first:last])
  expected[at : at + 3] = b"abc"[: max(0, len(expected) - at)]
  like = io.BytesIO(bytes(expected))
  view = View(io.BytesIO(DATA), first, last, patch=(at, b"abc"))
  for move in moves:
    if move < 0:
      wanted = max(0, like.tell() + move)
      assert view.seek(wanted) == like.seek(wanted)
    else:
      assert view.read(move) == like.read(move)
    assert view.tell() == like.tell()
  view.seek(0)
  assert view.readall() == bytes(expected)


def test_a_place_that_is_none_is_not_gone_to():
  view = View(io.BytesIO(DATA))
  assert view.seek(-3, os.SEEK_END) == 97
  assert view.seek(-98, os.SEEK_CUR) == 97
  assert view.seek(2**63) == 97
  assert view.seek(500) == 500
  assert view.read(5) == b""


def test_an_error_is_kept():
  class Broken(io.BytesIO):
    def read(self, size: int = -1) -> bytes:
      raise OSError(5, "Input/output error")

  view = View(Broken(DATA))
  assert view.read(10) == b""
  with pytest.raises(OSError, match="Input/output"):
    raise view.error
