"""Whether a checkpoint is all there, told without reading its arrays.

A copy that stopped, or a save to a bucket that was killed, leaves a folder that looks like a
checkpoint. What Orbax writes says in itself how large it must be: each step names its parts, each
part its arrays, and the index of their store (OCDBT) names the place of every byte in its files.
"""

import json
import urllib.parse
from collections.abc import Iterator
from typing import Any

import tensorstore as ts
from etils import epath

STEP_METADATA = "_CHECKPOINT_METADATA"
TREE_METADATA = "_METADATA"
COMMITTED = "commit_success.txt"
# Kinds of leaves of a tree, and the files beside it that they need.
_STRING, _DEVICE_ARRAY = "string", "jax.Array"
_NEEDS = {_STRING: "_strings.json", _DEVICE_ARRAY: "_sharding"}
_ARRAY_METADATA = "array_metadatas"  # a folder with a file of each process


def fault(checkpoint: str) -> str | None:
  """What shows that a checkpoint (the folder of a step) is not whole; None when it is.

  Args:
    checkpoint: an absolute path or a URL.
  """
  folder = epath.Path(checkpoint)
  # A folder on a disk gets its name when it is complete; one in a bucket has it from the start.
  if "://" in checkpoint and not (folder / COMMITTED).exists():
    return f"no {COMMITTED}"
  try:
    parts = _read_json(folder / STEP_METADATA)["item_handlers"]
    for part in parts:
      _check_tree(folder / part)
  except _Fault as error:
    return str(error)
  return None


class _Fault(Exception):
  """What is wrong with a checkpoint."""


def _read_json(file: epath.Path) -> Any:
  place = f"{file.parent.name}/{file.name}"
  if not file.exists():
    raise _Fault(f"no {place}")
  try:
    return json.loads(file.read_text())
  except ValueError as error:
    raise _Fault(f"{place} is cut short") from error


def _check_tree(part: epath.Path) -> None:
  """Checks a tree of arrays and strings."""
  metadata = _read_json(part / TREE_METADATA)
  kinds = {leaf["value_metadata"]["value_type"] for leaf in metadata["tree_metadata"].values()}
  files = [part / name for kind, name in _NEEDS.items() if kind in kinds]
  if (extra := part / _ARRAY_METADATA).exists():
    files += extra.iterdir()
  for file in files:
    _read_json(file)
  if metadata["use_ocdbt"] and kinds - {_STRING}:
    for file, size in _sizes(part).items():
      path = part / file
      there = path.stat().length if path.exists() else 0
      if there < size:
        raise _Fault(f"{part.name}/{file} has {there} bytes of {size}")


def _sizes(part: epath.Path) -> dict[str, int]:
  """The files of a store, and how many bytes of them are used."""
  base = str(part) if "://" in str(part) else f"file://{part}"
  store = ts.KvStore.open(f"{base.rstrip('/')}/").result()
  sizes: dict[str, int] = {}
  try:
    for location in _locations(store):
      _, prefix, name, offset, length = location.split(":")
      file = urllib.parse.unquote(prefix + name)
      sizes[file] = max(sizes.get(file, 0), int(offset) + int(length))
  except ValueError as error:  # TensorStore's, of an index that is missing or cut short
    raise _Fault(f"{part.name}: the index of its arrays cannot be read: {error}") from error
  return sizes


def _locations(store: ts.KvStore) -> Iterator[str]:
  """Places of the nodes and values of a store's newest version: kind:prefix:file:offset:length."""
  manifest = ts.ocdbt.dump(store).result()
  left = [manifest["versions"][-1]["root"].get("location")]
  while left:
    if (location := left.pop()) is None:  # an empty store
      continue
    yield location
    for entry in ts.ocdbt.dump(store, location).result()["entries"]:
      if "indirect_value" in entry:
        yield entry["indirect_value"]
      elif "location" in entry:
        left.append(entry["location"])
