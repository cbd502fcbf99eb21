"""Names of shards."""

import os
import re

from maxtext_ext.files import storage

SHARD_SUFFIX = ".array_record"


def shard_name(split: str, index: int, count: int) -> str:
  """File name of a shard: `train-00003-of-00055.array_record`."""
  return f"{split}-{index:05d}-of-{count:05d}{SHARD_SUFFIX}"


def parse_shard_name(path: str) -> tuple[str, int, int] | None:
  """The inverse of `shard_name`: split, index and count, or None for a name of another form."""
  match = re.fullmatch(r"(.+)-(\d{5,})-of-(\d{5,})\.array_record", os.path.basename(path))
  return (match[1], int(match[2]), int(match[3])) if match else None


def list_shards(folder: str) -> list[str]:
  """All ArrayRecord files of a folder, sorted; none if there is no such folder."""
  return storage.list_folder(folder, SHARD_SUFFIX)
