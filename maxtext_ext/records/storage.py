"""The file system under records: conversion and reading meet it here and nowhere else."""

import contextlib
import glob
import os
from collections.abc import Iterator
from typing import BinaryIO

_TEMPORARY = ".tmp-"


def find_files(source: str, pattern: str) -> list[str]:
  """The files that a user's SOURCE stands for, sorted.

  Args:
    source: a file, a folder or a glob.
    pattern: which files of a folder count, a glob on their names ("*.jsonl").

  Raises:
    ValueError: nothing is there.
  """
  if is_file(source):
    return [source]
  if os.path.isdir(source):
    where = os.path.join(glob.escape(source), pattern)
  else:
    where = source
  found = glob.glob(where, recursive=True)
  files = sorted(path for path in found if is_file(path) and _TEMPORARY not in path)
  if not files:
    raise ValueError(
      f"{source}: no input found, expected a file, a folder with {pattern} files, or a glob; "
      "check the path (quote a glob against the shell)"
    )
  return files


def is_file(path: str) -> bool:
  """Whether there is a file of this name."""
  return os.path.isfile(path)


def size_of(path: str) -> int:
  """Size of a file in bytes."""
  return os.path.getsize(path)


def open_read(path: str) -> BinaryIO:
  """Opens a file for reading bytes."""
  return open(path, "rb")


def list_folder(folder: str, suffix: str = "") -> list[str]:
  """The files of a folder whose names end so, sorted; none if there is no such folder."""
  return sorted(glob.glob(os.path.join(glob.escape(folder), "*" + suffix)))


@contextlib.contextmanager
def replacing(path: str) -> Iterator[str]:
  """Gives a temporary name to write to; it becomes `path` at the end, or vanishes on an error."""
  os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
  temporary = f"{path}{_TEMPORARY}{os.getpid()}"
  try:
    yield temporary
    os.replace(temporary, path)
  finally:
    with contextlib.suppress(FileNotFoundError):
      os.remove(temporary)
