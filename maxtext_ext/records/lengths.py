"""Lengths and texts of the records of a shard: everything except the audio.

Batches are planned from them, so that no host decodes a record that it does not use. The shard
`train-00000-of-00055.array_record` has the numpy archive `train-00000-of-00055.lengths.npz`:

  format       int: 1
  shard_bytes  int: size of the shard; with another one the file is out of date
  samples      int32 [N]: at 16 kHz; -1 for a record that cannot be read
  characters   int32 [N]: of the text, without white space around it
  texts        uint8: UTF-8 of a JSON list of N lists [id, text, language or null, prompt]

Conversion writes it with the shard. It takes less than a thousandth of the shard's size.
"""

import dataclasses
import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from maxtext_ext.files import storage
from maxtext_ext.records.manifest import SHARD_SUFFIX
from maxtext_ext.records.schema import Record

LENGTHS_SUFFIX = ".lengths.npz"
UNREADABLE = -1  # in place of a number of samples
_FORMAT = 1
# What zipfile and numpy raise for bytes that are no archive, or a damaged one.
_DAMAGED = (ValueError, KeyError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


def lengths_path(shard: str) -> str:
  """Returns the path of the lengths of a shard."""
  return shard.removesuffix(SHARD_SUFFIX) + LENGTHS_SUFFIX


def shard_of(path: str) -> str:
  """Returns the shard of a path of lengths."""
  return path.removesuffix(LENGTHS_SUFFIX) + SHARD_SUFFIX


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ShardLengths:
  """Lengths and texts of the records of one shard.

  Attributes:
    shard_bytes: size of the shard that they are of.
    samples: int32 [N], of each record; UNREADABLE for one that cannot be read.
    characters: int32 [N], of the text of each.
    texts: JSON, see above.
  """

  shard_bytes: int
  samples: np.ndarray
  characters: np.ndarray
  texts: bytes

  def __len__(self) -> int:
    return len(self.samples)

  def records(self) -> list[Record | None]:
    """Returns the records with silence as audio, which takes no memory; None: an unreadable one."""
    silence = np.int16(0)
    return [
      Record(
        sample_id=sample_id,
        audio=np.broadcast_to(silence, samples),
        text=text,
        language=language,
        prompt=prompt,
      )
      if samples != UNREADABLE
      else None
      for samples, (sample_id, text, language, prompt) in zip(
        self.samples.tolist(), json.loads(self.texts), strict=True
      )
    ]

  def equals(self, other: "ShardLengths") -> bool:
    """Returns whether both are of the same shard and equal."""
    return (self.shard_bytes, self.texts) == (other.shard_bytes, other.texts) and all(
      np.array_equal(getattr(self, name), getattr(other, name))
      for name in ("samples", "characters")
    )

  def to_bytes(self) -> bytes:
    """Serializes the lengths; equal lengths have equal bytes."""
    file = io.BytesIO()
    np.savez_compressed(
      file,
      format=np.int64(_FORMAT),
      shard_bytes=np.int64(self.shard_bytes),
      samples=self.samples,
      characters=self.characters,
      texts=np.frombuffer(self.texts, np.uint8),
    )
    return file.getvalue()

  @classmethod
  def from_bytes(cls, data: bytes) -> "ShardLengths":
    """Parses what `to_bytes` returned.

    Raises:
      ValueError: the bytes are no such file.
    """
    file = io.BytesIO(data)
    try:
      with zipfile.ZipFile(file) as archive:
        if damaged := archive.testzip():  # numpy parses a header before its checksum is compared
          raise ValueError(f"'{damaged}' is damaged")
      file.seek(0)
      with np.load(file, allow_pickle=False) as arrays:
        if int(arrays["format"]) != _FORMAT:
          raise ValueError(f"format is {int(arrays['format'])}, expected {_FORMAT}")
        return cls(
          shard_bytes=int(arrays["shard_bytes"]),
          samples=arrays["samples"],
          characters=arrays["characters"],
          texts=arrays["texts"].tobytes(),
        )
    except _DAMAGED as error:
      raise ValueError(f"not a file of lengths ({error})") from error


class LengthsBuilder:
  """Builder of a shard's lengths, record by record.

  Example:
    builder = LengthsBuilder()
    builder.add(Record(sample_id="a", audio=np.zeros(16_000, np.int16), text="shalom"))
    builder.build(shard_bytes=32_100).samples  # [16000]
  """

  def __init__(self) -> None:
    self._samples: list[int] = []
    self._characters: list[int] = []
    self._texts: list[Sequence[Any]] = []

  def add(self, record: Record | None) -> None:
    """Adds the next record; None: one that cannot be read."""
    if record is None:
      self._samples.append(UNREADABLE)
      self._characters.append(0)
      self._texts.append(("", "", None, ""))
      return
    self._samples.append(len(record.audio))
    self._characters.append(len(record.text.strip()))
    self._texts.append((record.sample_id, record.text, record.language or None, record.prompt))

  def build(self, shard_bytes: int) -> ShardLengths:
    """Returns the lengths of all records that were added.

    Args:
      shard_bytes: size of the shard.
    """
    return ShardLengths(
      shard_bytes=shard_bytes,
      samples=np.array(self._samples, np.int32),
      characters=np.array(self._characters, np.int32),
      texts=json.dumps(self._texts, ensure_ascii=False, separators=(",", ":")).encode(),
    )


def read_lengths(path: str) -> ShardLengths | None:
  """Reads a file of lengths; None where there is none.

  Raises:
    ValueError: the file is damaged.
  """
  try:
    data = storage.read_bytes(path)
  except FileNotFoundError:
    return None
  try:
    return ShardLengths.from_bytes(data)
  except ValueError as error:
    raise ValueError(f"{path}: {error}; remove it, it is rebuilt when needed") from error


def write_lengths(shard: str, lengths: ShardLengths) -> None:
  """Writes the lengths of a shard beside it.

  Raises:
    OSError: the folder cannot be written to.
  """
  storage.write_bytes(lengths_path(shard), lengths.to_bytes())
