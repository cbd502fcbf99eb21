"""Base weights of adapters: identified by what was saved, not by their path."""

import hashlib
import logging
import os
from collections.abc import Iterable

from etils import epath

from maxtext_ext import bridge
from maxtext_ext.checkpoint.run_file import BASE_PLACE, remembered_base, write_run

# Files of a saved tree that no other save has alike, wherever they are copied.
_TREE, _STORE = "_METADATA", "manifest.ocdbt"
_HEAD = 4096  # bytes of an array's file that tell it from another's

_log = logging.getLogger(__name__)


def identify(items: str) -> str:
  """Returns an identity of saved weights that copies share and other weights do not.

  Raises:
    ValueError: nothing was saved there.
  """
  folder = epath.Path(items)
  if not (folder / _TREE).exists():
    raise ValueError(f"{items}: no saved weights there, expected {_TREE}")
  digest = hashlib.sha256((folder / _TREE).read_bytes())
  if (store := folder / _STORE).exists():
    digest.update(store.read_bytes())
  else:  # a store without a manifest: each array has files of its own
    for name, file in sorted(_files(folder)):
      with file.open("rb") as opened:
        digest.update(f"{name} {file.stat().length}\n".encode() + opened.read(_HEAD))
  return digest.hexdigest()[:32]


def _files(folder: epath.Path, prefix: str = "") -> Iterable[tuple[str, epath.Path]]:
  for child in folder.iterdir():
    if child.is_dir():
      yield from _files(child, f"{prefix}{child.name}/")
    else:
      yield prefix + child.name, child


def is_identical(items: str, identity: str) -> bool:
  """Returns whether the weights are identical to these."""
  return bool(items) and (epath.Path(items) / _TREE).exists() and identify(items) == identity


def find_base(items: str, *, path: str, identity: str, explicit: str = "") -> str:
  """Returns the path of the weights that adapters were trained on; remembers an explicit one.

  Args:
    items: the adapters' part of a checkpoint.
    path: of the weights in training.
    identity: of those weights, see `identify`.
    explicit: path that the user gave; other weights there are ignored with a warning.

  Raises:
    ValueError: they are nowhere.
  """
  run_dir = run_of(items)
  remembered = remembered_base(run_dir) if run_dir else ""
  for place in (explicit, remembered, path):
    if is_identical(place, identity):
      if explicit and place != explicit:
        _log.warning(
          "load_parameters_path=%s holds other weights than the adapters at %s were trained on;"
          " those of %s are taken",
          *(explicit, items, place),
        )
      if run_dir and place == explicit and place not in (remembered, path):
        remember_base(run_dir, place)
      return place
  problem = "other weights are" if epath.Path(explicit or path).exists() else "nothing is"
  raise ValueError(
    f"{items}: the weights that its adapters were trained on are missing: {problem} at"
    f" {explicit or path}; give load_parameters_path=FOLDER of them or of a copy, once (they were"
    f" at {path})"
  )


def run_of(items: str) -> str:
  """The folder of the run that a checkpoint's `items` belong to; empty: of none."""
  folder = epath.Path(bridge.absolute(items)).parent.parent
  return os.fspath(folder.parent) if folder.name == "checkpoints" else ""


def remember_base(run_dir: str, place: str) -> None:
  """Records the path of a run's base weights in `run.json`, if that is writable."""
  try:
    write_run(run_dir, **{BASE_PLACE: place})
  except PermissionError as error:
    _log.warning("%s: the place of its base weights is not remembered: %s", run_dir, error)
  else:
    _log.warning("%s: its base weights are those at %s from now on", run_dir, place)
