"""Code of a work tree for other machines: the files that git tracks, as names or as an archive."""

from __future__ import annotations

import gzip
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

# Left out at any depth, as virtual environments are, where git cannot say what the code is.
LEFT_OUT = (".git", "__pycache__", "out", "tmp")

SUBMODULE = "160000"  # mode of a submodule in git's index

# Set in hooks of git; they would point it to another work tree.
GIT_LOCAL = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR")


def tracked_files(folder: Path) -> list[str]:
  """Returns the files and symbolic links below `folder` that git tracks, relative to it, sorted.

  Files that are deleted in the working tree are left out, those of submodules are included. Where
  there is no git or no work tree, it is all files but LEFT_OUT and virtual environments, and a note
  says so.

  Raises:
    ValueError: there is no such folder, git tracks nothing in it or cannot read it, or a submodule
      is not checked out.
  """
  folder = Path(folder)
  if not folder.is_dir():
    raise ValueError(f"{folder}: no such folder")
  reason = _why_not_tracked(folder)
  if reason:
    left_out = ", ".join(LEFT_OUT)
    print(
      f"note: {reason}; taking all of its files except {left_out} and virtual environments",
      file=sys.stderr,
    )
    return sorted(_all_files(folder))
  missing_submodules: list[str] = []
  names = sorted(set(_in_index(folder, "", missing_submodules)))
  if missing_submodules:
    raise ValueError(
      f"{folder}: submodules are not checked out: {', '.join(missing_submodules)}; "
      "run git submodule update --init --recursive"
    )
  if not names:
    raise ValueError(
      f"{folder}: git tracks none of its files; git add them, or name another folder"
    )
  return names


def untracked_files(folder: Path) -> list[str]:
  """Returns the files below `folder` that git neither tracks nor ignores; none without git."""
  if _why_not_tracked(folder):
    return []
  return sorted(_git_list(folder, "ls-files", "-z", "--others", "--exclude-standard"))


def write_archive(folder: Path, archive: Path) -> int:
  """Writes the tracked files of `folder` to the tar.gz `archive`; returns how many there are.

  The same files make the same bytes: names are sorted, owners and the archive's own time left out.
  """
  own = Path(archive).resolve()
  names = [name for name in tracked_files(folder) if Path(folder).resolve() / name != own]
  with open(archive, "wb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as zipped:
    write_tar(folder, names, zipped)
  return len(names)


def write_tar(folder: Path, names: Iterable[str], stream: BinaryIO) -> None:
  """Writes the named files and symbolic links of `folder` to `stream` as an uncompressed tar."""
  with tarfile.open(
    fileobj=stream,
    mode="w|",
    format=tarfile.GNU_FORMAT,
    encoding="utf-8",
    errors="surrogateescape",  # names that are not UTF-8 keep their bytes
  ) as tar:
    for name in names:
      path = os.path.join(folder, name)
      status = os.lstat(path)
      entry = tarfile.TarInfo(name)
      entry.mtime = int(status.st_mtime)
      entry.mode = status.st_mode & 0o777
      if stat.S_ISLNK(status.st_mode):
        entry.type = tarfile.SYMTYPE
        entry.linkname = os.readlink(path)
        tar.addfile(entry)
      else:
        with open(path, "rb") as file:
          entry.size = os.fstat(file.fileno()).st_size
          tar.addfile(entry, file)


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
  environment = {name: value for name, value in os.environ.items() if name not in GIT_LOCAL}
  environment["LC_ALL"] = "C"
  return subprocess.run(
    ["git", "-C", str(folder), *arguments],
    env=environment,
    stdin=subprocess.DEVNULL,
    capture_output=True,
    check=False,
  )


def _git_list(folder: Path, *arguments: str) -> list[str]:
  """Runs git in `folder`; returns its NUL-separated output."""
  result = _git(folder, *arguments)
  if result.returncode:
    message = " ".join(os.fsdecode(result.stderr).split())
    raise ValueError(f"{folder}: git {arguments[0]} failed: {message}")
  return [os.fsdecode(name) for name in result.stdout.split(b"\0") if name]


def _why_not_tracked(folder: Path) -> str:
  """Returns why git cannot say what is tracked in `folder`; empty where it can."""
  try:
    result = _git(folder, "rev-parse", "--is-inside-work-tree")
  except FileNotFoundError:
    return f"git is not installed, so nothing says which files of {folder} are tracked"
  message = " ".join(os.fsdecode(result.stderr).split())
  if result.returncode and "not a git repository" not in message:
    raise ValueError(f"{folder}: git cannot read its repository: {message}")
  if result.stdout.strip() != b"true":
    return f"{folder} is in no git work tree"
  return ""


def _in_index(folder: Path, below: str, missing_submodules: list[str]) -> Iterable[str]:
  """Yields the tracked files of `folder` / `below` that are in the working tree."""
  here = folder / below
  linked: dict[str, bool] = {}

  def behind_link(name: str) -> bool:
    # A tracked folder may have become a symbolic link; what is behind it is not tracked.
    parent = os.path.dirname(name)
    if parent and parent not in linked:
      linked[parent] = os.path.islink(here / parent) or behind_link(parent)
    return bool(parent) and linked[parent]

  for entry in _git_list(here, "ls-files", "-z", "--stage"):
    described, _, name = entry.partition("\t")
    if behind_link(name) or not os.path.lexists(here / name):
      continue
    path = os.path.join(below, name)
    if described.startswith(SUBMODULE):
      if os.path.lexists(here / name / ".git"):
        yield from _in_index(folder, path, missing_submodules)
      else:
        missing_submodules.append(path)
    elif _is_file_or_link(here / name):
      yield path


def _all_files(folder: Path) -> Iterable[str]:
  for here, folders, files in os.walk(folder):
    links = [name for name in folders if os.path.islink(os.path.join(here, name))]
    for name in [*files, *links]:
      path = os.path.join(here, name)
      if name != ".git" and _is_file_or_link(path):
        yield os.path.relpath(path, folder)
    folders[:] = [
      name
      for name in folders
      if name not in LEFT_OUT and not os.path.lexists(os.path.join(here, name, "pyvenv.cfg"))
    ]


def _is_file_or_link(path: str | Path) -> bool:
  mode = os.lstat(path).st_mode
  return stat.S_ISREG(mode) or stat.S_ISLNK(mode)
