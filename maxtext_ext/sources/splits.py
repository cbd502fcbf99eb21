"""Splits of a corpus, inferred from the names of files and folders."""

import logging
import os
import re
from collections.abc import Sequence

from maxtext_ext.files import storage

# Words of a path that mean a split; any other split stands under its own name only.
_SYNONYMS = {
  "train": ("train", "training"),
  "validation": ("validation", "valid", "dev", "val"),
  "test": ("test", "testing", "eval", "evaluation"),
}
_SPLIT_OF_WORD = {word: split for split, words in _SYNONYMS.items() for word in words}
_NAMES_SHOWN = 5
_LOGGER = logging.getLogger(__name__)


def canonical_split(name: str) -> str:
  """One name for all that mean the same: `dev` is `validation`."""
  return _SPLIT_OF_WORD.get(name, name)


def split_in(path: str, split: str) -> str | None:
  """The split that a path names, of the usual ones and `split`; the last word of it counts."""
  words = re.split(r"[^0-9A-Za-z]+", path)
  splits = [_SPLIT_OF_WORD.get(word) or (split if word == split else None) for word in words]
  return next((each for each in reversed(splits) if each), None)


def find_own_files(source: str, patterns: Sequence[str], split: str | None) -> list[str]:
  """The files that a user's SOURCE stands for; of a folder those of the split, if names tell.

  Where names tell of other splits only, a warning says that all of them are read.

  Args:
    source: a file, a folder or a glob.
    patterns: which files of a folder count.
    split: the one that is converted; None: files of all splits are wanted.

  Raises:
    ValueError: nothing is there.
  """
  files = storage.find_files(source, *patterns)
  if split is None or source in files or not storage.exists(source):  # a file, a glob
    return files
  names = {path: split_in(os.path.basename(path), split) for path in files}
  own = [path for path, name in names.items() if name == canonical_split(split)]
  if not own and any(names.values()):
    _LOGGER.warning(
      "%s: no file is named after the split '%s', so all of them are read: %s; name the files of "
      "the split, or another --split",
      source,
      split,
      describe_names(files),
    )
  return own or files


def choose_folder(source: str, paths: Sequence[str], split: str | None) -> list[str]:
  """Those of some files of folders below SOURCE whose folder is the split's.

  Args:
    source: what the user named.
    paths: the files, such as {source}/train/wav.scp.
    split: the one that is converted; None: files of all splits are wanted.

  Raises:
    ValueError: the folders are of other splits.
  """
  start = len(source.rstrip("/")) + 1
  folders = {path: os.path.dirname(path)[start:] for path in paths}
  if split is None or not any(split_in(folder, split) for folder in folders.values()):
    return list(paths)
  own = [path for path, name in folders.items() if split_in(name, split) == canonical_split(split)]
  if not own:
    raise ValueError(
      f"{source}: no folder is named after the split '{split}', only {sorted(folders.values())}; "
      "give one of these, or another --split"
    )
  return own


def describe_names(paths: Sequence[str]) -> str:
  """The first few file names, and how many more there are."""
  shown = ", ".join(os.path.basename(path) for path in paths[:_NAMES_SHOWN])
  more = len(paths) - _NAMES_SHOWN
  return f"{shown} and {more} more" if more > 0 else shown
