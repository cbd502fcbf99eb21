"""Outputs of a frozen encoder, stored beside the shards that they were computed from.

The shard `train-00000-of-00055.array_record` has, for an encoder whose fingerprint begins with
0123456789ab,

  train-00000-of-00055.0123456789ab.encoded       ArrayRecord: every record's tokens, [n, width]
  train-00000-of-00055.0123456789ab.encoded.json  what they are of, written last

A record that cannot be read has no tokens. So another encoder's outputs are never read, and a shard
that was not finished is made again.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import ml_dtypes
import numpy as np

from maxtext_ext.files import storage
from maxtext_ext.records.manifest import SHARD_SUFFIX
from maxtext_ext.records.reader import RecordSource
from maxtext_ext.records.writer import ShardWriter

ENCODED_SUFFIX = ".encoded"
_DTYPES = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
_SHOWN = 12  # digits of a fingerprint in a file's name


@dataclass(frozen=True, kw_only=True)
class Encoding:
  """Encoder whose outputs are stored.

  Attributes:
    fingerprint: hexadecimal, of its weights and configuration.
    width: of a token.
    dtype: "float32" or "bfloat16", of the tokens.
  """

  fingerprint: str
  width: int
  dtype: str

  @property
  def numpy_dtype(self) -> np.dtype:
    """Type of the tokens."""
    return _DTYPES[self.dtype]


def encoded_path(shard: str, encoding: Encoding) -> str:
  """Returns the path of the outputs of a shard."""
  stem = shard.removesuffix(SHARD_SUFFIX)
  return f"{stem}.{encoding.fingerprint[:_SHOWN]}{ENCODED_SUFFIX}"


def is_encoded(shard: str, encoding: Encoding) -> bool:
  """Returns whether the outputs of a shard are stored, all of them, and of this shard."""
  try:
    said = json.loads(storage.read_bytes(encoded_path(shard, encoding) + ".json"))
  except (FileNotFoundError, json.JSONDecodeError):
    return False
  return said == _description(shard, encoding) and storage.is_file(encoded_path(shard, encoding))


def _description(shard: str, encoding: Encoding) -> dict[str, Any]:
  return {**asdict(encoding), "shard_bytes": storage.size_of(shard)}


def write_encoded(shard: str, encoding: Encoding, tokens: Iterable[np.ndarray]) -> None:
  """Stores the outputs of a shard.

  Args:
    tokens: [n, width] of every record, in order.

  Raises:
    OSError: the folder cannot be written to.
  """
  path = encoded_path(shard, encoding)
  with ShardWriter(path) as writer:
    for each in tokens:
      writer.write(np.ascontiguousarray(each, encoding.numpy_dtype).tobytes())
  text = json.dumps(_description(shard, encoding), indent=2) + "\n"
  storage.write_bytes(path + ".json", text.encode())


class EncodedSource:
  """Random access to the stored outputs of some shards, by the numbers of their records."""

  def __init__(self, shards: Sequence[str], encoding: Encoding) -> None:
    self._encoding = encoding
    self._source = RecordSource([encoded_path(shard, encoding) for shard in shards])

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> np.ndarray:
    """Reads the tokens of a record, [n, width]."""
    data = np.frombuffer(self._source[index], self._encoding.numpy_dtype)
    return data.reshape(-1, self._encoding.width)
