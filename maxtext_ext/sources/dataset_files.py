"""Parquet files of one split of a Hugging Face dataset.

The dataset card (README.md) may list them under `configs`; otherwise file names tell the split:
`data/train-00000-of-00042`, `ar/validation/0000`, `ar_eg/fleurs-test`. Source: "Data files
Configuration" and "File names and splits" in the documentation of the hub.
"""

import fnmatch
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from maxtext_ext.sources.splits import canonical_split, split_in

SUFFIX = ".parquet"
ALL_CONFIGS = "*"
_NUMBERED = re.compile(r"(.*?)-?(\d{5})-of-(\d{5})(-[0-9a-f]+)?\.parquet$")


def choose_files(
  names: Iterable[str],
  split: str,
  config: str | None = None,
  card: Mapping[str, Any] | None = None,
) -> list[str]:
  """The parquet files of a split, sorted; none where there is no such split.

  Args:
    names: paths of all files, relative to the data set.
    split: "train", "validation", "test" or a name of the data set's own.
    config: one of several subsets; "*" takes all of them; None where there is only one.
    card: the metadata of the card.

  Raises:
    ValueError: there are several configs and none is given, or files of a numbered set are missing.
  """
  names = sorted(name for name in names if name.endswith(SUFFIX))
  listed = _listed(card, config)
  if listed is None:
    chosen = _named(names, split, config)
  else:
    patterns = [pattern for name, pattern in listed if canonical_split(name) == split]
    chosen = [name for name in names if any(fnmatch.fnmatchcase(name, p) for p in patterns)]
  _check_whole(chosen)
  return chosen


def shared_folder(paths: Sequence[str]) -> str:
  """Returns their common folder, ending in "/"; empty where there is none."""
  levels = zip(*(path.split("/")[:-1] for path in paths), strict=False)
  shared = [level[0] for level in itertools.takewhile(lambda level: len(set(level)) == 1, levels)]
  return "".join(f"{name}/" for name in shared)


def _listed(card: Mapping[str, Any] | None, config: str | None) -> list[tuple[str, str]] | None:
  """Pairs (split, pattern) that the card gives; None where it says nothing of this config."""
  configs = {
    entry["config_name"]: entry
    for entry in (card or {}).get("configs") or ()
    if isinstance(entry, Mapping) and "config_name" in entry and "data_files" in entry
  }
  if config == ALL_CONFIGS:
    wanted = list(configs.values())
  elif config is not None:
    wanted = [configs[config]] if config in configs else []
  else:
    defaults = [
      entry for name, entry in configs.items() if name == "default" or entry.get("default")
    ]
    wanted = list(configs.values()) if len(configs) == 1 else defaults[:1]
    if configs and not wanted:
      raise _no_config(configs)
  return [pair for entry in wanted for pair in _patterns(entry["data_files"])] if wanted else None


def _patterns(data_files: Any) -> list[tuple[str, str]]:
  """Normalizes `data_files`: a pattern, several, or one or several for each split."""
  entries = [data_files] if isinstance(data_files, str | Mapping) else list(data_files or ())
  pairs = []
  for entry in entries:
    split, paths = ("train", entry) if isinstance(entry, str) else (entry["split"], entry["path"])
    pairs += [(split, path) for path in ([paths] if isinstance(paths, str) else paths)]
  return pairs


def _named(names: Sequence[str], split: str, config: str | None) -> list[str]:
  if config not in (None, ALL_CONFIGS):
    names = [name for name in names if config in name.split("/")[:-1]]
  by_split = {name: _split_of(name, split) for name in names}
  if not any(by_split.values()) and split == "train":
    return list(names)  # files without a word about it are for training
  chosen = [name for name, found in by_split.items() if found == split]
  if config is None:
    # Folders that are not called after the split itself: data/, ar/, Egypt/.
    tops = {name.split("/")[0] for name in chosen if "/" in name}
    tops = {top for top in tops if not split_in(top, split)}
    if len(tops) > 1:
      raise _no_config(tops)
  return chosen


def _split_of(name: str, split: str) -> str | None:
  """Returns the split that a path names; one such as "train.100" is a folder, or begins a file."""
  folders, _, base = name.rpartition("/")
  is_one_word = split.isalnum()
  if not is_one_word and (split in folders.split("/") or base.startswith(f"{split}-")):
    return split
  return split_in(name.removesuffix(SUFFIX), split)


def _no_config(configs: Iterable[str]) -> ValueError:
  return ValueError(
    f"the data set has the configs {sorted(configs)}: name one behind its id, as in "
    "org/name:config, or all with org/name:*"
  )


def _check_whole(names: Sequence[str]) -> None:
  sets: dict[tuple[str, int], set[int]] = {}
  for name in names:
    if match := _NUMBERED.match(name):
      sets.setdefault((match[1], int(match[3])), set()).add(int(match[2]))
  for (prefix, count), present in sets.items():
    if missing := sorted(set(range(count)) - present):
      raise ValueError(
        f"{prefix}-*: {len(present)} of {count} parquet files are there, number {missing[0]} is "
        "missing; download the rest"
      )
