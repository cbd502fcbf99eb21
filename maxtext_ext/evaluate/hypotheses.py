"""Hypotheses on disk: one JSON object a line, in shards that are complete or absent."""

import collections
import contextlib
import dataclasses
import io
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, cast

from etils import epath

from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.evaluate.hypothesis_line import format_line, parse_line
from maxtext_ext.files import storage
from maxtext_ext.files.compressed import DAMAGE, decompress, is_damage
from maxtext_ext.files.storage import atomic_open

__all__ = [
  "Hypothesis",
  "HypothesisWriter",
  "describe_cut",
  "name_by_file",
  "name_by_manifest",
  "read_hypotheses",
  "shard_path",
]

_FILES_AT_ONCE = 16
_SHARD_NAME = re.compile(r"hypotheses-(\d{5})-of-(\d{5})\.jsonl")
# Files of the Open ASR Leaderboard name model and dataset.
_MANIFEST_NAME = re.compile(r"MODEL_.*?_DATASET_(.+?)\.jsonl(\..*)?")


def describe_cut(cut: int, total: int, limit: str) -> str:
  """Says how many transcripts a limit cut, such as max_new_tokens=512, and to raise it."""
  return f"{cut:,} of {total:,} transcripts cut by {limit}: raise it"


def shard_path(directory: str | os.PathLike[str], shard: int = 0, num_shards: int = 1) -> str:
  """Returns `{directory}/hypotheses-00000-of-00001.jsonl`, as read_hypotheses expects."""
  if not 0 <= shard < num_shards:
    raise ValueError(f"shard {shard} is outside of 0..{num_shards - 1}")
  return os.fspath(epath.Path(directory) / f"hypotheses-{shard:05d}-of-{num_shards:05d}.jsonl")


class HypothesisWriter:
  """Writer of one shard; renames the file when the `with` block ends without an exception.

  >>> with HypothesisWriter(shard_path("out/decoded")) as writer:
  ...   writer.write(Hypothesis(id="a", reference="hello", hypothesis="hallo"))
  """

  def __init__(self, path: str | os.PathLike[str]) -> None:
    self.path = os.fspath(path)
    self.count = 0
    self._seen: set[tuple[str, str]] = set()
    self._stack = contextlib.ExitStack()
    self._file: IO[str] | None = None

  def __enter__(self) -> "HypothesisWriter":
    self._file = self._stack.enter_context(atomic_open(self.path))
    return self

  def __exit__(self, *exception: Any) -> None:
    self._file = None
    self._stack.__exit__(*exception)

  def write(self, hypothesis: Hypothesis) -> None:
    """Adds a line. Raises ValueError for an utterance that this shard already holds."""
    assert self._file is not None, "write() belongs inside the writer's with block"
    key = (hypothesis.dataset, hypothesis.id)
    if key in self._seen:
      raise ValueError(f"{self.path}: {_describe(key)} is written twice; ids must be unique")
    self._seen.add(key)
    self._file.write(format_line(hypothesis) + "\n")
    self.count += 1


def name_by_manifest(name: str) -> str:
  """Returns the dataset that a file's name gives as the Open ASR Leaderboard does, or ""."""
  match = _MANIFEST_NAME.fullmatch(name)
  return match[1] if match else ""


def name_by_file(name: str) -> str:
  """Returns the name of a file without its endings as that of its dataset; "" for our shards."""
  return "" if _SHARD_NAME.fullmatch(name) else name_by_manifest(name) or name.split(".jsonl")[0]


def read_hypotheses(
  path: str | os.PathLike[str], *, dataset_of: Callable[[str], str] = name_by_manifest
) -> list[Hypothesis]:
  """Reads a file, compressed or not, or the *.jsonl files of a directory in the order of names.

  Other systems' outputs can be scored: fields may have the usual names (such as NeMo's `text` and
  `pred_text`), unknown ones are kept as extra fields, an utterance without an id is named by its
  sound file or its line, and languages are given by code or name.

  Args:
    dataset_of: the dataset of lines that name none, from the name of their file.

  Raises:
    ValueError: nothing at `path`, a shard missing from a set, a line that is not a hypothesis, or
      an utterance that occurs twice; the message names file and line.
  """
  hypotheses: list[Hypothesis] = []
  places: dict[tuple[str, str], str] = {}
  for file, lines in _contents(_files(epath.Path(path))):
    shard, name, dataset = os.fspath(file), file.name, dataset_of(file.name)
    for number, line in enumerate(lines, 1):
      if not line.strip():
        continue
      place = f"{shard}:{number}"
      hypothesis, named = parse_line(line, place, f"{name}:{number}")
      if dataset and not hypothesis.dataset:
        hypothesis = dataclasses.replace(hypothesis, dataset=dataset)
      key = (hypothesis.dataset, hypothesis.id)
      if key in places and not named:
        hypothesis = dataclasses.replace(hypothesis, id=f"{hypothesis.id} ({name}:{number})")
        key = (hypothesis.dataset, hypothesis.id)
      if key in places:
        raise ValueError(
          f"{place}: {_describe(key)} occurred before, at {places[key]}; "
          "remove one, or name the datasets apart"
        )
      places[key] = place
      hypotheses.append(hypothesis)
  return hypotheses


def _describe(key: tuple[str, str]) -> str:
  dataset, identifier = key
  return f"id {identifier!r} of dataset {dataset!r}" if dataset else f"id {identifier!r}"


def _contents(files: list[epath.Path]) -> Iterator[tuple[epath.Path, list[bytes]]]:
  """Yields each file with its lines; several are read at once, as a bucket answers slowly."""
  with ThreadPoolExecutor(min(_FILES_AT_ONCE, len(files))) as pool:
    yield from zip(files, pool.map(_lines, files), strict=True)


def _lines(file: epath.Path) -> list[bytes]:
  """Reads the lines of a file, decompressed."""
  try:
    # Bytes split at b"\n" alone: U+2028 and friends inside a transcript end no line.
    with storage.open_read(os.fspath(file)) as content:
      return list(decompress(cast(io.BufferedIOBase, content)))
  except (OSError, *DAMAGE) as error:
    if not is_damage(error):
      raise
    raise ValueError(f"{file}: its compressed content is cut or damaged; copy it again") from error


def _files(path: epath.Path) -> list[epath.Path]:
  if path.is_file():
    return [path]
  if not path.is_dir():
    raise ValueError(f"{path}: no such file or directory; expected hypotheses as JSON lines")
  files = sorted(path.glob("*.jsonl"))
  if not files:
    raise ValueError(f"{path}: no *.jsonl file in this directory; run decode first")
  _check_complete(path, files)
  return files


def _check_complete(directory: epath.Path, files: list[epath.Path]) -> None:
  """Raises ValueError for missing shards: an error rate over a part would look valid."""
  shards: dict[int, set[int]] = collections.defaultdict(set)
  for file in files:
    if match := _SHARD_NAME.fullmatch(file.name):
      shards[int(match[2])].add(int(match[1]))
  if len(shards) > 1:
    counts = ", ".join(str(count) for count in sorted(shards))
    raise ValueError(f"{directory}: shards of several runs ({counts} shards); keep one set")
  for count, present in shards.items():
    missing = sorted(set(range(count)) - present)
    if missing:
      raise ValueError(
        f"{directory}: {len(missing)} of {count} shards missing, first {missing[0]}; run the same"
        " decode again, which makes them"
      )
