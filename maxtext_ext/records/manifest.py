"""Shard names, and the manifest of a split: its shards and the conversion that wrote them."""

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.files import storage

SHARD_SUFFIX = ".array_record"
MANIFEST_NAME = "{split}.manifest.json"
_FORMAT = "maxtext_ext manifest 1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class WrittenShard:
  """An output shard.

  Attributes:
    name: file name.
    records: how many it holds.
    samples: length of their audio at 16 kHz.
    bytes: size of the file.
    crc32c: its checksum, as `checksum.of_file` has it.
  """

  name: str
  records: int
  samples: int
  bytes: int
  crc32c: str

  @property
  def seconds(self) -> float:
    """Length of their audio in seconds."""
    return self.samples / SAMPLE_RATE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
  """{split}.manifest.json, the last file that a conversion writes.

  It holds no time and nothing else that differs between two runs of one conversion.

  Attributes:
    split: which.
    conversion: the identity of the conversion, see `conversion.ConversionPlan`.
    read, quarantined, left_out: counts of the whole conversion, over all its splits.
    shards: of this split, in order.
  """

  split: str
  conversion: Mapping[str, Any]
  read: int
  quarantined: int
  left_out: Mapping[str, int]
  shards: tuple[WrittenShard, ...]

  @property
  def records(self) -> int:
    """Records of the split."""
    return sum(shard.records for shard in self.shards)

  @property
  def seconds(self) -> float:
    """Audio of the split in seconds."""
    return sum(shard.samples for shard in self.shards) / SAMPLE_RATE

  @property
  def bytes(self) -> int:
    """Size of its shards."""
    return sum(shard.bytes for shard in self.shards)


def manifest_path(folder: str, split: str) -> str:
  """Returns the path of a split's manifest."""
  return storage.join(folder, MANIFEST_NAME.format(split=split))


def splits_with_manifest(folder: str) -> list[str]:
  """Lists the splits of a folder that have a manifest."""
  suffix = MANIFEST_NAME.format(split="")
  names = map(os.path.basename, storage.list_folder(folder, suffix))
  return [name.removesuffix(suffix) for name in names if name != suffix]


def write_manifest(folder: str, manifest: Manifest) -> None:
  """Writes it, indented for people."""
  content = {
    "format": _FORMAT,
    "split": manifest.split,
    "records": manifest.records,
    "seconds": manifest.seconds,
    "bytes": manifest.bytes,
    "read": manifest.read,
    "quarantined": manifest.quarantined,
    "left_out": dict(manifest.left_out),
    "conversion": dict(manifest.conversion),
    "shards": [
      {
        "name": shard.name,
        "records": shard.records,
        "seconds": shard.seconds,
        "bytes": shard.bytes,
        "crc32c": shard.crc32c,
      }
      for shard in manifest.shards
    ],
  }
  data = json.dumps(content, indent=1, ensure_ascii=False).encode(errors="backslashreplace")
  storage.write_bytes(manifest_path(folder, manifest.split), data + b"\n")


def read_manifest(folder: str, split: str) -> Manifest | None:
  """Reads the manifest of a split; None where there is none.

  Raises:
    ValueError: the file is not a manifest.
  """
  path = manifest_path(folder, split)
  if not storage.is_file(path):
    return None
  try:
    content = json.loads(storage.read_bytes(path))
    if content["format"] != _FORMAT:
      raise ValueError(f"format is {content['format']!r}, expected {_FORMAT!r}")
    shards = tuple(
      WrittenShard(
        name=shard["name"],
        records=int(shard["records"]),
        samples=round(shard["seconds"] * SAMPLE_RATE),
        bytes=int(shard["bytes"]),
        crc32c=shard["crc32c"],
      )
      for shard in content["shards"]
    )
    return Manifest(
      split=content["split"],
      conversion=dict(content["conversion"]),
      read=content["read"],
      quarantined=content["quarantined"],
      left_out=dict(content["left_out"]),
      shards=shards,
    )
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise ValueError(
      f"{path} is not a manifest ({error!r}); remove it, or convert again with --overwrite"
    ) from error


def shard_name(split: str, index: int, count: int) -> str:
  """File name of a shard: `train-00003-of-00055.array_record`."""
  return f"{split}-{index:05d}-of-{count:05d}{SHARD_SUFFIX}"


def parse_shard_name(path: str) -> tuple[str, int, int] | None:
  """Parses `shard_name`: split, index and count, or None for a name of another form."""
  match = re.fullmatch(r"(.+)-(\d{5,})-of-(\d{5,})\.array_record", os.path.basename(path))
  return (match[1], int(match[2]), int(match[3])) if match else None


def list_shards(folder: str) -> list[str]:
  """Lists all ArrayRecord files of a folder, sorted; none if there is no such folder."""
  return storage.list_folder(folder, SHARD_SUFFIX)
