"""Hypotheses on disk: one JSON object a line, in shards that are complete or absent."""

import collections
import contextlib
import dataclasses
import json
import math
import os
import pathlib
import re
import tempfile
from collections.abc import Iterator
from typing import IO, Any

from etils import epath

_SHARD_NAME = re.compile(r"hypotheses-(\d{5})-of-(\d{5})\.jsonl")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hypothesis:
  """One transcribed utterance, texts as they were written: normalisation belongs to scoring.

  Attributes:
    id: names the utterance inside its dataset; not empty.
    dataset: "" when the data has no name.
    language: Qwen3-ASR's name of it ("English", "Hebrew"), None when unknown.
    duration: seconds of audio.
    reference: what was said; "" for noise and silence.
    hypothesis: what the model wrote.
  """

  id: str
  dataset: str = ""
  language: str | None = None
  duration: float = 0.0
  reference: str
  hypothesis: str

  def __post_init__(self) -> None:
    if not self.id:
      raise ValueError("id is empty; every hypothesis needs one to be told from the others")
    if not math.isfinite(self.duration) or self.duration < 0:
      raise ValueError(f"duration is {self.duration}, expected seconds, finite and not negative")
    for name in ("id", "dataset", "language", "reference", "hypothesis"):
      try:
        (getattr(self, name) or "").encode()
      except UnicodeEncodeError as error:
        raise ValueError(f"{name} is no valid text: lone surrogate at {error.start}") from error


# What each field may be in JSON.
_FIELD_TYPES: dict[str, tuple[type, ...]] = {
  "id": (str,),
  "dataset": (str,),
  "language": (str, type(None)),
  "duration": (float, int),
  "reference": (str,),
  "hypothesis": (str,),
}
_REQUIRED = ("id", "reference", "hypothesis")


@contextlib.contextmanager
def atomic_open(path: str | os.PathLike[str]) -> Iterator[IO[str]]:
  """Opens a UTF-8 text file for writing that appears under its name only when all went well.

  The directory is made if missing. When the block raises, `path` stays as it was. A URL such as
  gs://bucket/file gets the file when it is whole: a bucket shows an object only then.
  """
  target = epath.Path(path)
  is_url = "://" in os.fspath(path)
  folder = pathlib.Path(tempfile.mkdtemp()) if is_url else pathlib.Path(path).parent
  folder.mkdir(parents=True, exist_ok=True)
  temporary = folder / f"{target.name}.tmp-{os.getpid()}"
  try:
    with temporary.open("w", encoding="utf-8", newline="\n") as file:
      yield file
      file.flush()
      os.fsync(file.fileno())
    if is_url:
      target.write_bytes(temporary.read_bytes())
    else:
      temporary.replace(path)
  finally:
    temporary.unlink(missing_ok=True)
    if is_url:
      folder.rmdir()


def shard_path(directory: str | os.PathLike[str], shard: int = 0, num_shards: int = 1) -> str:
  """`{directory}/hypotheses-00000-of-00001.jsonl`: the name that read_hypotheses counts on."""
  if not 0 <= shard < num_shards:
    raise ValueError(f"shard {shard} is outside of 0..{num_shards - 1}")
  return os.fspath(epath.Path(directory) / f"hypotheses-{shard:05d}-of-{num_shards:05d}.jsonl")


class HypothesisWriter:
  """Writes one shard; the file takes its name when the `with` block ends without an exception.

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
    line = {name: getattr(hypothesis, name) for name in _FIELD_TYPES}
    self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
    self.count += 1


def read_hypotheses(path: str | os.PathLike[str]) -> list[Hypothesis]:
  """Reads a file, or the *.jsonl files of a directory in the order of their names.

  Fields besides those of Hypothesis are passed over, so that other systems' outputs can be scored.

  Raises:
    ValueError: nothing at `path`, a shard missing from a set, a line that is not a hypothesis, or
      an utterance that occurs twice; the message names file and line.
  """
  hypotheses: list[Hypothesis] = []
  places: dict[tuple[str, str], str] = {}
  for file in _files(epath.Path(path)):
    # Bytes split at b"\n" alone: U+2028 and friends inside a transcript end no line.
    with file.open("rb") as lines:
      for number, line in enumerate(lines, 1):
        if not line.strip():
          continue
        place = f"{file}:{number}"
        hypothesis = _parse(line, place)
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
  """A rate over part of the shards looks like any other, so a gap has to be an error."""
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
      raise ValueError(f"{directory}: {len(missing)} of {count} shards missing, first {missing[0]}")


def _parse(line: bytes, place: str) -> Hypothesis:
  try:
    value = json.loads(line)
  except (ValueError, RecursionError) as error:  # syntax and UTF-8; nesting without end
    raise ValueError(f"{place}: not a line of JSON in UTF-8: {error}") from error
  if type(value) is not dict:
    raise ValueError(f"{place}: expected a JSON object, got {type(value).__name__}")
  if missing := [name for name in _REQUIRED if name not in value]:
    raise ValueError(f"{place}: no {', '.join(missing)}; needed are {', '.join(_REQUIRED)}")
  fields = {name: value[name] for name in _FIELD_TYPES if name in value}
  for name, field in fields.items():
    if type(field) not in _FIELD_TYPES[name]:  # isinstance would take true for a number
      expected = " or ".join(kind.__name__ for kind in _FIELD_TYPES[name])
      raise ValueError(f"{place}: {name} is {field!r}, expected {expected}")
  try:
    return Hypothesis(**fields | {"duration": float(fields.get("duration", 0.0))})
  except (ValueError, OverflowError) as error:
    raise ValueError(f"{place}: {error}") from error
