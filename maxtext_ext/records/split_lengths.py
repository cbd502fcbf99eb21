"""Lengths of the records of a split: read from the files beside its shards, or scanned once.

Shards without the file (see records/lengths.py) are read by several threads, and the result is
stored beside them, or in the user's cache if that folder is not writable. Several hosts may do so
at once: the files are equal, and each is replaced atomically.
"""

import dataclasses
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from maxtext_ext.audio.io import is_finite
from maxtext_ext.files import storage
from maxtext_ext.files.user_cache import user_cache
from maxtext_ext.progress import ProgressLine
from maxtext_ext.records.lengths import (
  LENGTHS_SUFFIX,
  LengthsBuilder,
  ShardLengths,
  lengths_path,
  read_lengths,
)
from maxtext_ext.records.reader import RecordSource
from maxtext_ext.records.schema import Record, RecordError, decode_example

_THREADS = 16
_PROGRESS_EVERY = 64  # records

_log = logging.getLogger(__name__)


class SplitLengths:
  """Records of some shards, in order, with silence as audio.

  None stands for a record that cannot be read.
  """

  def __init__(self, shards: Sequence[ShardLengths]) -> None:
    self._shards = shards
    self._starts = np.cumsum([0, *map(len, shards)])
    self._parsed: tuple[int, list[Record | None]] = (-1, [])  # of the shard that was asked last

  def __len__(self) -> int:
    return int(self._starts[-1])

  def __getitem__(self, index: int) -> Record | None:
    if not 0 <= index < len(self):
      raise IndexError(f"record {index} of {len(self)}")
    shard = int(np.searchsorted(self._starts, index, side="right")) - 1
    parsed = self._parsed
    if parsed[0] != shard:  # several threads may ask
      parsed = self._parsed = (shard, self._shards[shard].records())
    return parsed[1][index - int(self._starts[shard])]

  @property
  def samples(self) -> np.ndarray:
    """int32 [N], of each record; UNREADABLE for one that cannot be read."""
    return np.concatenate([shard.samples for shard in self._shards])

  @property
  def characters(self) -> np.ndarray:
    """int32 [N], of the text of each record without white space around it."""
    return np.concatenate([shard.characters for shard in self._shards])


def find_lengths(shards: Sequence[str]) -> SplitLengths | None:
  """Reads the lengths of all these shards; None if those of a shard are not stored."""
  stored = [each for each in _stored(shards) if each is not None]
  return SplitLengths(stored) if len(stored) == len(shards) else None


def find_or_scan_lengths(shards: Sequence[str], *, visible: bool = True) -> SplitLengths:
  """Reads the lengths of all these shards; scans shards without them, and stores the result.

  Args:
    shards: paths, in order.
    visible: whether to show the progress of reading.
  """
  result = _stored(shards)
  missing = [index for index, lengths in enumerate(result) if lengths is None]
  sources = {index: RecordSource([shards[index]]) for index in missing}
  total = sum(map(len, sources.values()))
  with ProgressLine("lengths", total, visible=visible) as line:
    done = 0
    for index, source in sources.items():
      result[index] = _scan(shards[index], source, line, done)
      done += len(source)
  return SplitLengths([each for each in result if each is not None])


def _stored(shards: Sequence[str]) -> list[ShardLengths | None]:
  with ThreadPoolExecutor(_THREADS) as pool:
    return list(pool.map(_stored_of, shards, storage.sizes_of(shards)))


def _stored_of(shard: str, size: int) -> ShardLengths | None:
  """The lengths of a shard of this size, from beside it or from the cache."""
  for path in _places(shard):
    try:
      lengths = read_lengths(path)
    except ValueError as error:
      _log.warning("%s", error)
      continue
    if lengths is not None and lengths.shard_bytes == size:
      return lengths
  return None


def _scan(shard: str, source: RecordSource, line: ProgressLine, done: int) -> ShardLengths:
  """Reads a whole shard, and stores the lengths of its records."""
  builder = LengthsBuilder()
  with ThreadPoolExecutor(_THREADS) as pool:
    records = pool.map(lambda index: _without_sound(source, index), range(len(source)))
    for number, record in enumerate(records, 1):
      builder.add(record)
      if number % _PROGRESS_EVERY == 0 or number == len(source):
        line.update(done + number, os.path.basename(shard))
  lengths = builder.build(storage.size_of(shard))
  _store(shard, lengths)
  return lengths


def _without_sound(source: RecordSource, index: int) -> Record | None:
  """A stored record with silence of the same length; None where it cannot be used."""
  try:
    record = decode_example(source[index], copy=False)
  except RecordError:
    return None
  if not is_finite(record.audio):
    return None
  return dataclasses.replace(record, audio=np.broadcast_to(np.int16(0), len(record.audio)))


def _store(shard: str, lengths: ShardLengths) -> None:
  reasons = []
  for path in _places(shard):
    try:
      storage.write_bytes(path, lengths.to_bytes())
      return
    except OSError as error:
      reasons.append(str(error))
  _log.warning("%s: its lengths cannot be stored: %s", shard, "; ".join(reasons))


def _places(shard: str) -> Iterator[str]:
  """Returns the paths where a shard's lengths are read or stored, in this order."""
  yield lengths_path(shard)
  yield _cache_path(shard)


def _cache_path(shard: str) -> str:
  """Path in the user's cache, of this version of the shard."""
  path = shard if storage.is_url(shard) else os.path.realpath(shard)
  key = f"{path} {storage.versions([shard])[0]}"
  return os.path.join(
    user_cache("lengths"), hashlib.sha256(key.encode()).hexdigest()[:32] + LENGTHS_SUFFIX
  )
