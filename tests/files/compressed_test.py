"""Compressed files: whole ones, several in a row, and cut ones."""

import bz2
import gzip
import io
import lzma

import pyarrow as pa
import pytest

from maxtext_ext.files.compressed import DAMAGE, decompress, is_damage, skip

CONTENT = bytes(range(256)) * 999


def zstd(content: bytes) -> bytes:
  return pa.Codec("zstd").compress(content, asbytes=True)


COMPRESSORS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstd}


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_content_comes_back_also_from_a_place_within(kind):
  data = COMPRESSORS[kind](CONTENT)
  assert decompress(io.BytesIO(data)).read() == CONTENT
  assert decompress(io.BytesIO(data + data)).read() == CONTENT * 2
  stream = decompress(io.BytesIO(data))
  skip(stream, 100_003)
  assert stream.read(5) == CONTENT[100_003:100_008]


def test_plain_files_are_read_as_they_are():
  for content in (b"", b"\x1f", CONTENT):
    file = io.BytesIO(content)
    assert decompress(file) is file and file.read() == content


@pytest.mark.parametrize("kind", COMPRESSORS)
@pytest.mark.parametrize("keep", [8, -5])
def test_damage_is_told_from_errors_of_the_system(kind, keep):
  data = COMPRESSORS[kind](CONTENT)[:keep]
  with pytest.raises((*DAMAGE, OSError)) as caught:
    decompress(io.BytesIO(data)).read()
  assert is_damage(caught.value)
  assert not is_damage(FileNotFoundError(2, "no such file"))
