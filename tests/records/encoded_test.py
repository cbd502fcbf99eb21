"""Stored outputs of an encoder: read as written, and only of their shard and encoder."""

import dataclasses
import os
import pathlib

import ml_dtypes
import numpy as np
import pytest

from maxtext_ext.records.encoded import (
  EncodedSource,
  Encoding,
  encoded_path,
  is_encoded,
  write_encoded,
)

ENCODING = Encoding(fingerprint="0123456789abcdef", width=3, dtype="float32")


@pytest.fixture
def shard(tmp_path: pathlib.Path) -> str:
  path = tmp_path / "train-00000-of-00001.array_record"
  path.write_bytes(b"a shard")
  return str(path)


@pytest.mark.parametrize("dtype", [np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16)])
def test_outputs_are_read_as_they_were_written(shard: str, dtype: np.dtype):
  encoding = dataclasses.replace(ENCODING, dtype=dtype.name)
  rng = np.random.default_rng(0)
  tokens = [rng.normal(size=(n, 3)).astype(dtype) for n in (4, 0, 2)]
  assert not is_encoded(shard, encoding)
  write_encoded(shard, encoding, iter(tokens))
  assert encoded_path(shard, encoding).endswith("/train-00000-of-00001.0123456789ab.encoded")
  assert is_encoded(shard, encoding)
  source = EncodedSource([shard, shard], encoding)
  assert len(source) == 6
  for number, want in enumerate([*tokens, *tokens]):
    np.testing.assert_array_equal(source[number], want)
    assert source[number].dtype == dtype


def test_outputs_of_another_shard_or_encoder_do_not_count(shard: str):
  write_encoded(shard, ENCODING, [np.zeros((1, 3))])
  assert not is_encoded(shard, dataclasses.replace(ENCODING, fingerprint="fedcba9876543210"))
  # Equal in the digits that a name shows.
  assert not is_encoded(shard, dataclasses.replace(ENCODING, fingerprint="0123456789ab0000"))
  assert not is_encoded(shard, dataclasses.replace(ENCODING, dtype="bfloat16"))
  pathlib.Path(shard).write_bytes(b"a shard that was converted again")
  assert not is_encoded(shard, ENCODING)


def test_a_shard_that_was_not_finished_does_not_count(shard: str):
  def broken():
    yield np.zeros((1, 3))
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    write_encoded(shard, ENCODING, broken())
  assert not is_encoded(shard, ENCODING)
  assert os.listdir(pathlib.Path(shard).parent) == [os.path.basename(shard)]
  write_encoded(shard, ENCODING, [np.zeros((1, 3))])
  pathlib.Path(encoded_path(shard, ENCODING) + ".json").write_text('{"width": ')
  assert not is_encoded(shard, ENCODING)
