"""Outputs of a command, checked before its work: they can be made, and overwrite no input."""

import os
import posixpath
from collections.abc import Iterable

from maxtext_ext.files.connection import is_url, scheme_of

_SAME = {"gcs": "gs"}  # two names of one file system


def require_apart(outputs: Iterable[str], inputs: Iterable[str]) -> None:
  """Raises ValueError where an output would be written over a file that the command reads.

  Links and different spellings of a path count as the file that they lead to.

  Args:
    outputs: files to write.
    inputs: files, local or URLs.
  """
  names = {_name(path): path for path in inputs}
  for output in outputs:
    found = names.get(_name(output))
    if found is None and not is_url(output):
      found = next((path for path in names.values() if _is_same(output, path)), None)
    if found is not None:
      raise ValueError(f"{output} would overwrite {found}, which is read; choose another name")


def is_inside(path: str, folder: str) -> bool:
  """Returns whether a path is a folder or lies in it, at any depth."""
  inside, around = _name(path), _name(folder)
  return inside == around or inside.startswith(around.rstrip("/") + "/")


def require_outside(path: str, folder: str) -> None:
  """Raises ValueError where a file that the command reads is in a folder that it empties."""
  if is_inside(path, folder):
    raise ValueError(f"{path} is in {folder}, which is emptied first; move it, or choose another")


def require_file_place(path: str) -> None:
  """Raises ValueError unless a file can be made at a path. At a URL, only its name is checked."""
  if path.endswith("/") or (not is_url(path) and os.path.isdir(path)):
    raise ValueError(f"{path}: expected the name of a file to write, got a folder")
  require_folder_place(path.rpartition("/")[0] if is_url(path) else os.path.dirname(path))


def require_folder_place(folder: str) -> None:
  """Raises ValueError unless files can be made in a folder, new or not; a URL is not asked."""
  if is_url(folder):
    return
  place = os.path.abspath(folder)
  while not os.path.lexists(place):
    place = os.path.dirname(place)
  if not os.path.isdir(place):
    raise ValueError(f"{place}: expected a folder to write to, got a file; choose another name")
  if not os.access(place, os.W_OK | os.X_OK):
    raise ValueError(f"{folder}: cannot be written to, by the permissions of {place}")


def _name(path: str) -> str:
  """Returns one name for all spellings of a path."""
  if not is_url(path):
    return os.path.realpath(path)
  scheme = scheme_of(path)
  rest = path.removeprefix(f"{scheme}://")
  return f"{_SAME.get(scheme, scheme)}://{posixpath.normpath(rest)}"


def _is_same(path: str, other: str) -> bool:
  """Returns whether two local paths lead to one file, as on disks that take a for A."""
  if is_url(other) or not (os.path.exists(path) and os.path.exists(other)):
    return False
  return os.path.samefile(path, other)
