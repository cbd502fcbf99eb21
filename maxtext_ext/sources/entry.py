"""Entries that sources yield: a good record, or a bad one with the reason."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

from maxtext_ext.records.schema import Record


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Place:
  """Place of a record in its source.

  Attributes:
    file: path of the input file.
    position: in that file: line from 1 (JSONL); record, row or sample from 0 (all others).
    done: share of the shard that has been read with it, 0 to 1.
  """

  file: str
  position: int
  done: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Good(Place):
  """A record to write.

  Attributes:
    record: its content, mono 16 kHz.
    serialized: its bytes where the source holds the schema already, to be copied unchanged.
    fallback_id: unique id to use if another record has the same one, where the id was made from a
      file name; empty where the source has an id.
  """

  record: Record
  serialized: bytes | None = None
  fallback_id: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Bad(Place):
  """A record to quarantine; `sample_id` is empty where it could not be read."""

  sample_id: str
  reason: str


@runtime_checkable
class InputShard(Protocol):
  """The records that one output shard is made of.

  A shard that depends on more than its files has a method `identity`, see `identity_of`.
  """

  def entries(self) -> Iterator[Good | Bad]:
    """Reads them in order. Never fails for bad content, only for I/O."""
    ...


def identity_of(shard: InputShard, versions: Mapping[str, str]) -> Any:
  """Identifies a shard's input as JSON, which differs wherever the records might.

  Args:
    shard: a frozen dataclass. Its method `identity(versions)` says so; else its fields do, with the
      versions of the files in its field `paths`, or of the whole source.
    versions: of the files of the source, see `storage.versions`.
  """
  if identity := getattr(shard, "identity", None):
    return identity(versions)
  files = getattr(shard, "paths", versions)
  # What the command asks for is compared elsewhere, and grows from version to version.
  assert dataclasses.is_dataclass(shard)
  fields = (field.name for field in dataclasses.fields(shard) if field.name != "options")
  return [
    [[name, repr(getattr(shard, name))] for name in fields],
    [[path, versions[path]] for path in files],
  ]
