"""Output folder of a decode: a manifest, and shards that are created once.

Any number of jobs may write into one folder, at the same time or after one was killed: the manifest
says how the clips are divided and what the transcripts depend on, and the first job that has
decoded a shard creates it. Jobs need no other knowledge of each other.

A job that begins a shard claims it, by a file beside it that goes when the shard is there. Others
begin such shards last. A claim is no lock: that of a job that was killed only puts off the shard.
"""

import json
import os
import re
import secrets
from typing import Any, Self

import pydantic

from maxtext_ext.decode.division import Division
from maxtext_ext.evaluate import decoded
from maxtext_ext.evaluate.hypotheses import shard_path
from maxtext_ext.files import storage
from maxtext_ext.files.creation import create

MANIFEST_FILE = "manifest.json"
_FORMAT = "maxtext_ext decode 1"
_SHARD = re.compile(r"hypotheses-(\d{5})-of-\d{5}\.jsonl")
_CLAIM = ".claim"
_REMEDY = "give another output=, or replace_output=true to remove them"


class Manifest(pydantic.BaseModel):
  """Manifest of an output folder, which its first job creates.

  Attributes:
    clips: their number.
    ids: digest of their ids.
    shards: number of the output shards.
    settings: what the transcripts depend on, beside the sound: weights and keys.
  """

  model_config = pydantic.ConfigDict(frozen=True, strict=True)

  format: str = _FORMAT
  clips: int
  ids: str
  shards: int
  settings: dict[str, Any]

  @classmethod
  def of(cls, division: Division, settings: dict[str, Any]) -> Self:
    """Makes the manifest of a division; of `settings` it has what JSON would."""
    stored = json.loads(json.dumps(settings, default=str))
    return cls(clips=len(division), ids=division.digest, shards=division.shards, settings=stored)

  def to_bytes(self) -> bytes:
    """Serializes it, indented for people."""
    return f"{self.model_dump_json(indent=2)}\n".encode()


class OutputFolder:
  """Folder of hypotheses that this job writes to, maybe beside others.

  Args:
    path: local or a URL.
    manifest: what this job would write.
  """

  def __init__(self, path: str, manifest: Manifest) -> None:
    self.path = path
    self.manifest = manifest
    self._manifest_path = os.path.join(path, MANIFEST_FILE)
    self._name = secrets.token_hex(8).encode()  # of this job, in its claims

  def join(self, *, replace: bool = False) -> None:
    """Creates the manifest, or finds that of another job with the same clips and settings.

    Args:
      replace: remove transcripts of other clips or settings first; no other job may be running.
        Those of the same stay, so that a job that is started again goes on.

    Raises:
      ValueError: the folder is of other clips or settings; it is left as it is.
      OSError: it cannot be written to.
    """
    shards = self._shards()  # before the manifest is read, which is made before them
    existing = self._read()
    other = ""
    if existing is None and shards:
      other = f"a version without {MANIFEST_FILE}, such as {os.path.basename(shards[0])}"
    elif existing is not None and (changes := _changes(existing, self.manifest)):
      other = f"other settings ({'; '.join(changes)})"
    if other and not replace:
      raise ValueError(f"{self.path}: has transcripts of {other}; {_REMEDY}")
    if other or existing is None:
      claims = storage.list_folder(self.path, _CLAIM)
      for path in (*shards, *claims, os.path.join(self.path, decoded.DECODED_FILE)):
        storage.remove(path)
      if existing is not None:  # last: a folder that was cleared in part is not taken for a new one
        storage.remove(self._manifest_path)
      if not create(self._manifest_path, self.manifest.to_bytes()):
        self.join()  # another job has created one meanwhile

  def unfinished(self) -> list[int]:
    """Returns the numbers of the shards that are not there."""
    finished = {int(match[1]) for path in self._shards() if (match := _number(path))}
    return [shard for shard in range(self.manifest.shards) if shard not in finished]

  def is_finished(self, shard: int) -> bool:
    """Returns whether a shard is there."""
    return storage.exists(self._path_of(shard))

  def claim(self, shard: int) -> bool:
    """Claims a shard; returns False where another job has begun it.

    Raises:
      OSError: the folder cannot be written to.
    """
    return create(self._path_of(shard) + _CLAIM, self._name)

  def remove_claims(self) -> None:
    """Removes what jobs that were killed have left, if all shards are there."""
    if not self.unfinished():
      for path in storage.list_folder(self.path, _CLAIM):
        storage.remove(path)

  def finish(self, shard: int, data: bytes) -> bool:
    """Creates a shard, unless another job has, and removes its claim.

    Returns:
      whether the shard has these bytes.

    Raises:
      OSError: it cannot be written, or the folder is another decode's by now.
    """
    if self._read() != self.manifest:
      raise OSError(
        f"{self.path}: {MANIFEST_FILE} is not that of this job any more, another one has replaced"
        " the transcripts; give another output="
      )
    is_ours = create(self._path_of(shard), data)
    storage.remove(self._path_of(shard) + _CLAIM)
    return is_ours

  def _path_of(self, shard: int) -> str:
    return shard_path(self.path, shard, self.manifest.shards)

  def _shards(self) -> list[str]:
    return [path for path in storage.list_folder(self.path, ".jsonl") if _number(path)]

  def _read(self) -> Manifest | None:
    try:
      content = storage.read_bytes(self._manifest_path)
    except FileNotFoundError:
      return None
    try:
      return Manifest.model_validate_json(content)
    except pydantic.ValidationError as error:
      raise ValueError(
        f"{self._manifest_path}: not the manifest of a decode; give another output="
      ) from error


def _number(path: str) -> re.Match[str] | None:
  return _SHARD.fullmatch(os.path.basename(path))


def _value(settings: dict[str, Any], name: str) -> str:
  # Controls at their defaults are not in a manifest.
  return f"{settings[name]!r:.100}" if name in settings else "its default"


def _changes(before: Manifest, now: Manifest) -> list[str]:
  """Describes what differs between two manifests."""
  found = []
  if (before.clips, before.ids) != (now.clips, now.ids):
    found.append(f"of {before.clips} clips, now {now.clips}, with other ids")
  if before.shards != now.shards:
    size = -(-before.clips // before.shards)
    found.append(f"{before.shards} shards, now {now.shards}: give clips_per_shard={size}")
  for name in sorted({*before.settings, *now.settings}):
    if before.settings.get(name) != now.settings.get(name):
      was, new = (_value(each.settings, name) for each in (before, now))
      found.append(f"{name} was {was}, now {new}")
  if before.format != now.format:
    found.append(f"format {before.format!r}, expected {now.format!r}")
  return found
