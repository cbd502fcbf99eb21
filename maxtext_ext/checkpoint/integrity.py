"""Checkpoint integrity: sizes and checksums of its files, written with it and compared on reading.

When a checkpoint is committed, each process that saved it lists its files in the folder of the step
(`checksums-0-of-1.json`; Orbax and MaxText ignore files there, but treat a folder as a part of the
checkpoint). A process that is killed between the two leaves a checkpoint without a
list, which is read unchecked, as are those of older versions and of other programs.
"""

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import jax
from pydantic import BaseModel, ValidationError

from maxtext_ext.errors import one_line
from maxtext_ext.files import checksum, storage
from maxtext_ext.files.remote import FileInfo

STEP_METADATA = "_CHECKPOINT_METADATA"
TREE_METADATA = "_METADATA"
COMMITTED = "commit_success.txt"
_INDEX = "manifest.ocdbt"  # of the arrays of a part
_LIST = re.compile(r"checksums-(\d+)-of-(\d+)\.json")
_OF_PROCESS = re.compile(r"/ocdbt\.process_(\d+)/")
_REMEDY = "copy the checkpoint again, or move its folder away to use another"
_OF_TENSORSTORE = re.compile(r"[A-Z_]+: Error (reading|opening|decoding) ")
_SAID = 300  # characters of an error of TensorStore
_THREADS = min(8, os.cpu_count() or 1)


class _File(BaseModel):
  """A file of a checkpoint when it was committed."""

  size: int  # bytes
  crc32c: str  # base64, as Google Cloud Storage shows it


class _Checksums(BaseModel):
  """Content of a list."""

  files: dict[str, _File]  # by path below the folder of the step


class _StepMetadata(BaseModel):
  """Part of Orbax's file about a step that is read; it holds more."""

  item_handlers: dict[str, Any]  # by name of the part


class _Value(BaseModel):
  value_type: str


class _Leaf(BaseModel):
  value_metadata: _Value


class _TreeMetadata(BaseModel):
  """Part of Orbax's file about a part that is read."""

  use_ocdbt: bool
  tree_metadata: dict[str, _Leaf]


class DamagedError(ValueError):
  """Files of a checkpoint are not what was saved."""


class _Corrupt(Exception):
  """Fault of a checkpoint."""


def write_checksums(checkpoint: str) -> None:
  """Lists this process's files of a committed checkpoint; every process that saved it calls it.

  In a bucket the checksums are the bucket's own, so nothing is read.

  Args:
    checkpoint: the folder of the step, an absolute path or a URL.

  Raises:
    OSError: a file cannot be read, or the list not be written.
  """
  index, count = jax.process_index(), jax.process_count()
  # Each process lists the files that it wrote, as they are in its page cache.
  own = {
    name: info
    for name, info in sorted(storage.walk(checkpoint).items())
    if _owner(name) % count == index and not _LIST.fullmatch(name)
  }
  # Checksums release the GIL, so threads compute them in parallel.
  with ThreadPoolExecutor(_THREADS) as pool:
    sums = pool.map(lambda name: _checksum(checkpoint, name, own[name]), own)
    files = {
      name: _File(size=own[name].size, crc32c=crc32c)
      for name, crc32c in zip(own, sums, strict=True)
    }
  path = storage.join(checkpoint, f"checksums-{index}-of-{count}.json")
  storage.write_bytes(path, _Checksums(files=files).model_dump_json(indent=1).encode())


def find_corruption(checkpoint: str) -> str | None:
  """Finds signs, without reading the arrays, that a checkpoint is incomplete; None: there are none.

  The sizes of listed files are compared. For a checkpoint without a list only the metadata of its
  parts and arrays is read.

  Args:
    checkpoint: the folder of the step, an absolute path or a URL.
  """
  there = storage.walk(checkpoint)
  # A bucket cannot rename a folder at commit as a disk does, so Orbax's marker has to be there.
  if "://" in checkpoint and COMMITTED not in there:
    return f"no {COMMITTED}"
  try:
    listed, complete = _read_lists(checkpoint, there)
    # Without the lists of all processes, missing arrays show in the metadata only.
    if not complete:
      _check_metadata(checkpoint, there)
    # Sizes reveal truncated and missing files without reading the arrays.
    for name, file in listed.items():
      size = there[name].size if name in there else 0
      if size != file.size:
        raise _Corrupt(f"{name} has {size} bytes of {file.size}")
  except _Corrupt as error:
    return str(error)
  return None


class Verification:
  """Comparison of checkpoints' files with their lists, in threads beside the block that reads.

  with Verification("run/checkpoints/4/items"):
    ... load

  Of several processes each compares a share, since all see the same files, as Orbax asks for. An
  error of one ends all.

  Args:
    items: the weights of checkpoints (`{step}/items`), absolute or URLs; "" is ignored.

  Raises:
    DamagedError: at the end of the block, instead of a read error: names a damaged file; without a
      list, the arrays that Orbax could not read.
  """

  def __init__(self, *items: str) -> None:
    self._checkpoints = [os.path.dirname(each.rstrip("/")) for each in items if each]

  def __enter__(self) -> Self:
    self._pool = ThreadPoolExecutor(_THREADS)
    self._pending = [self._pool.submit(_find_damage, *each) for each in self._files()]
    return self

  def _files(self) -> Iterator[tuple[str, str, FileInfo | None, _File]]:
    """This process's share of the files, the largest first."""
    for checkpoint in self._checkpoints:
      there = storage.walk(checkpoint)
      try:
        listed, _ = _read_lists(checkpoint, there)
      except _Corrupt as error:
        raise DamagedError(f"{checkpoint}: {error}; {_REMEDY}") from error
      names = sorted(listed, key=lambda name: (-listed[name].size, name))
      for name in names[jax.process_index() :: jax.process_count()]:
        yield checkpoint, name, there.get(name), listed[name]

  def __exit__(
    self, kind: type[BaseException] | None, error: BaseException | None, trace: object
  ) -> None:
    if kind is not None and not issubclass(kind, Exception):  # Ctrl-C waits for nothing
      self._pool.shutdown(wait=False, cancel_futures=True)
      return
    with self._pool:
      damage = [fault for pending in self._pending if (fault := pending.result())]
    if damage:
      raise DamagedError(damage[0])
    if said := _unreadable(error):
      names = ", ".join(self._checkpoints)
      raise DamagedError(f"{names} cannot be read ({said[:_SAID]}); {_REMEDY}") from error


def _unreadable(error: BaseException | None) -> str:
  """Returns TensorStore's message about arrays that it cannot read; "" for other errors.

  Orbax hides it behind its own, with pages about the arrays and about its handlers.
  """
  while error is not None:
    if _OF_TENSORSTORE.match(said := one_line(error)):
      return said
    error = error.__cause__
  return ""


def _find_damage(checkpoint: str, name: str, there: FileInfo | None, listed: _File) -> str | None:
  """Describes how a file differs from what was written; None when it does not."""
  if there is None:
    fault = "is gone"
  elif there.size != listed.size:
    fault = f"has {there.size} bytes of {listed.size}"
  elif (crc32c := _checksum(checkpoint, name, there)) != listed.crc32c:
    fault = f"is damaged: its CRC32C is {crc32c}, {listed.crc32c} when it was saved"
  else:
    return None
  return f"{storage.join(checkpoint, name)} {fault}; {_REMEDY}"


def _checksum(checkpoint: str, name: str, info: FileInfo) -> str:
  return info.crc32c or checksum.of_file(storage.join(checkpoint, name))


def _owner(name: str) -> int:
  """Returns the process that wrote a file, and may still have it in its page cache."""
  match = _OF_PROCESS.search(name)
  return int(match[1]) if match else 0


def _read_lists(checkpoint: str, there: dict[str, FileInfo]) -> tuple[dict[str, _File], bool]:
  """The listed files of a checkpoint, and whether all processes that saved it wrote their list."""
  lists = [match for name in there if (match := _LIST.fullmatch(name))]
  files: dict[str, _File] = {}
  for match in lists:
    files |= _read(_Checksums, checkpoint, match[0], there).files
  return files, bool(lists) and len(lists) == int(lists[0][2])


def _check_metadata(checkpoint: str, there: dict[str, FileInfo]) -> None:
  """Checks that each part of a checkpoint says what it holds, and has an index of its arrays."""
  for part in _read(_StepMetadata, checkpoint, STEP_METADATA, there).item_handlers:
    tree = _read(_TreeMetadata, checkpoint, f"{part}/{TREE_METADATA}", there)
    kinds = {leaf.value_metadata.value_type for leaf in tree.tree_metadata.values()}
    index = f"{part}/{_INDEX}"
    if tree.use_ocdbt and kinds - {"string"} and index not in there:
      raise _Corrupt(f"no {index}")


def _read[Content: BaseModel](
  content: type[Content], checkpoint: str, name: str, there: dict[str, FileInfo]
) -> Content:
  """Reads a JSON file of a checkpoint."""
  if name not in there:
    raise _Corrupt(f"no {name}")
  try:
    return content.model_validate_json(storage.read_bytes(storage.join(checkpoint, name)))
  except ValidationError as error:
    raise _Corrupt(f"{name} is cut short") from error
