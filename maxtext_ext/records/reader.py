"""Reader of ArrayRecord shards: finds those of a split, and reads records in any order."""

import os
from collections.abc import Sequence
from typing import SupportsIndex

from array_record.python.array_record_data_source import ArrayRecordDataSource

from maxtext_ext.files import storage
from maxtext_ext.records.manifest import SHARD_SUFFIX, list_shards, parse_shard_name
from maxtext_ext.records.schema import RecordError

_DAMAGED = "Corrupted Riegeli"  # of a record whose bytes do not have its hash
_DOWNLOADS = 3  # of such a record, which may have been damaged on its way
_EMULATOR = "CLOUD_STORAGE_EMULATOR_ENDPOINT"  # where Google's C++ client looks for another server


def find_shards(data_dir: str, split: str) -> list[str]:
  """The shards of a split: {data_dir}/{split}-*.array_record, or else all of {data_dir}/{split}/.

  Raises:
    ValueError: there are none, a numbered set of them is incomplete, or two sets are mixed; or the
      split's name is empty, which would match all of `data_dir`.
  """
  if not {"", ".", ".."}.isdisjoint(split.split("/")):
    raise ValueError(f"split {split!r} is no name of one; expected train, validation, test or such")
  flat = [
    path
    for path in list_shards(data_dir)
    if os.path.basename(path).removeprefix(f"{split}-")[:1].isdigit()
  ]
  shards = flat or list_shards(os.path.join(data_dir, split))
  if not shards:
    pattern = os.path.join(data_dir, f"{split}-*{SHARD_SUFFIX}")
    folder = os.path.join(data_dir, split, "*" + SHARD_SUFFIX)
    raise ValueError(
      f"{data_dir}: no shards of split '{split}', looked for {pattern} and {folder}; "
      "check the folder, or make them with `maxtext-ext data convert`"
    )
  _check_whole(shards)
  return shards


class DamagedRecord(RecordError):
  """The bytes of a record in its shard are damaged; `reason` is ArrayRecord's."""

  def __init__(self, what: str, reason: str) -> None:
    super().__init__(f"{what} is damaged ({reason}); convert the data again")
    self.reason = reason


class RecordSource:
  """Random access to the serialized records of some shards, in the order of the shards.

  Can be pickled, and serves as the source of a grain dataset:
  `grain.MapDataset.source(RecordSource(find_shards(data_dir, "train")))`.

  Shards may be at gs://, where each record is a request of its own: read by many threads at once,
  as grain does. For several epochs a mounted bucket with a cache on disk needs fewer
  requests: `gcsfuse --implicit-dirs --file-cache-max-size-mb=-1 --cache-dir=DISK BUCKET FOLDER`.

  Attributes:
    shards: their paths.
  """

  def __init__(self, shards: Sequence[str]) -> None:
    self.shards = tuple(shards)
    for shard in _missing(shards):
      raise ValueError(f"{shard}: no such shard; check the path, or convert the data again")
    if any(map(storage.is_url, shards)):
      _require_google_storage(shards)
    try:
      self._source = ArrayRecordDataSource(list(shards))
    except RuntimeError as error:
      raise ValueError(
        f"cannot open {len(shards)} shards from {shards[0]} on ({error}); "
        "expected whole ArrayRecord files: convert the data again"
      ) from error

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: SupportsIndex) -> bytes:
    """Reads a record.

    Raises:
      DamagedRecord: it is damaged.
      OSError: it cannot be reached.
    """
    index = index.__index__()
    if not -len(self) <= index < len(self):
      raise IndexError(f"record {index} of {len(self)}")
    is_remote = any(map(storage.is_url, self.shards))
    for _ in range(_DOWNLOADS if is_remote else 1):
      try:
        return self._source[index % len(self)]
      except RuntimeError as error:  # of ArrayRecord's library, which raises no other
        reason = " ".join(str(error).split())
        what = f"record {index} of the shards from {self.shards[0]} on"
        if _DAMAGED not in reason:
          remedy = "check the network" if is_remote else "check the disk"
          raise OSError(
            f"{what}: cannot read it ({reason}); {remedy}, then run the same command again"
          ) from error
    raise DamagedRecord(what, reason)


def _missing(shards: Sequence[str]) -> list[str]:
  """Returns the shards that are missing; remote folders are listed once."""
  folders = {shard.rpartition("/")[0] for shard in shards if storage.is_url(shard)}
  there = {path for folder in folders for path in storage.list_folder(folder)}
  return [
    shard
    for shard in shards
    if (shard not in there if storage.is_url(shard) else not storage.is_file(shard))
  ]


def _require_google_storage(shards: Sequence[str]) -> None:
  """Checks credentials: array_record's Google client retries for 15 minutes before it fails."""
  for shard in shards:
    if storage.is_url(shard) and not shard.startswith("gs://"):
      raise ValueError(f"{shard}: records are read from local shards and from gs://; copy it")
  if _EMULATOR in os.environ:
    return  # which asks for none
  from google import auth
  from google.auth.exceptions import DefaultCredentialsError

  try:
    auth.default()
  except DefaultCredentialsError as error:
    raise PermissionError(
      f"{shards[0]}: reading records needs Google credentials, found none; sign in with "
      "`gcloud auth application-default login`, or mount the bucket with gcsfuse"
    ) from error


def _check_whole(shards: Sequence[str]) -> None:
  sets: dict[str, dict[int, set[int]]] = {}
  for shard in shards:
    if name := parse_shard_name(shard):
      split, index, count = name
      sets.setdefault(split, {}).setdefault(count, set()).add(index)
  folder = os.path.dirname(shards[0])
  for split, counts in sets.items():
    if len(counts) > 1:
      raise ValueError(
        f"{folder}: shards of '{split}' from several conversions, of {sorted(counts)} shards each; "
        "remove those that do not belong"
      )
    ((count, present),) = counts.items()
    missing = sorted(set(range(count)) - present)
    if missing:
      raise ValueError(
        f"{folder}: {len(present)} of {count} shards of '{split}' are there, number {missing[0]} "
        "is missing; copy the rest or finish the conversion"
      )
