"""Files of a downloaded folder: only regular files inside it, and no links out of it.

A link in a downloaded folder could name any file of this machine, and a copy would publish it. The
cache of the Hugging Face hub consists of links, into the `blobs` of the repository or of the whole
cache; those are followed.
"""

import os
import pathlib
import re
import stat
from collections.abc import Sequence

from etils import epath

from maxtext_ext.files.foreign_json import shown

_SNAPSHOTS, _BLOBS = "snapshots", "blobs"
_REPOSITORY = re.compile(r"(models|datasets|spaces)--.+")


def find(folder: str, name: str) -> epath.Path | None:
  """The file of that name, None where there is none.

  Args:
    folder: local or a URL.
    name: may come from a foreign file.

  Raises:
    ValueError: the name is a path, it is no regular file, or it is a link out of the folder.
  """
  if name in ("", ".", "..") or re.search(r"[/\\\0]", name):
    raise ValueError(f"{folder}: got the file name {shown(name)}, expected one without a folder")
  file = epath.Path(folder) / name
  if "://" in os.fspath(folder):
    return file if file.exists() else None
  if not os.path.lexists(file):
    return None
  _check(os.fspath(folder), os.fspath(file))
  return file


def list_files(folder: str, suffixes: Sequence[str]) -> list[epath.Path]:
  """The files with one of these endings, sorted; hidden ones and folders are left out.

  Raises:
    ValueError: one of them is no regular file or a link out of the folder.
  """
  found = []
  for path in sorted(epath.Path(folder).iterdir()):
    hidden = path.name.startswith(".")
    if not hidden and path.name.endswith(tuple(suffixes)) and not path.is_dir():
      file = find(folder, path.name)
      assert file is not None
      found.append(file)
  return found


def _check(folder: str, file: str) -> None:
  try:
    real = pathlib.Path(os.path.realpath(file, strict=True))
    mode = real.stat().st_mode
  except OSError as error:
    raise ValueError(f"{file}: a link that leads nowhere ({error.strerror})") from error
  if not any(real.is_relative_to(root) for root in _roots(folder)):
    raise ValueError(f"{file} is a link to {real}, expected a file inside {folder}; copy it there")
  if not stat.S_ISREG(mode):
    raise ValueError(f"{file} is no regular file (a folder, a pipe or a device)")


def _roots(folder: str) -> list[pathlib.Path]:
  """Returns the folders in which the files of a folder may lie."""
  real = pathlib.Path(os.path.realpath(folder))
  for snapshot in (real, real.parent):  # the folder may be that of a part of a model
    repository = snapshot.parent.parent
    if snapshot.parent.name == _SNAPSHOTS and _REPOSITORY.fullmatch(repository.name):
      return [real, repository / _BLOBS, repository.parent / _BLOBS]
  return [real]
