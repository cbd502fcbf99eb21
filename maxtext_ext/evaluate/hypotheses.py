"""Hypotheses on disk: one JSON object a line, in shards that are complete or absent."""

import codecs
import collections
import contextlib
import dataclasses
import json
import math
import os
import re
from collections.abc import Iterator
from typing import IO, Any

from etils import epath

from maxtext_ext.files.compressed import DAMAGE, decompress, is_damage
from maxtext_ext.files.storage import atomic_open
from maxtext_ext.text.languages import NO_LANGUAGE, is_name, language_name

_SHARD_NAME = re.compile(r"hypotheses-(\d{5})-of-(\d{5})\.jsonl")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hypothesis:
  """Transcribed utterance; its texts are not normalised, which scoring does.

  Attributes:
    id: names the utterance inside its dataset; not empty.
    dataset: "" when the data has no name.
    language: Qwen3-ASR's name of it ("English", "Hebrew"), None when unknown.
    duration: seconds of audio.
    reference: what was said; "" for noise and silence.
    hypothesis: output of the model.
    complete: whether the model ended it; False where `max_new_tokens` cut it.
  """

  id: str
  dataset: str = ""
  language: str | None = None
  duration: float = 0.0
  reference: str
  hypothesis: str
  complete: bool = True

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
  "id": (str, int),
  "dataset": (str,),
  "language": (str,),
  "duration": (float, int),
  "reference": (str,),
  "hypothesis": (str,),
  "complete": (bool,),
}
# What they are called, here and by other systems: of several that a line has, the first counts.
_TEXTS = ("text", "sentence", "transcript", "transcription")
_FIELD_NAMES = {
  "id": ("id", "sample_id", "utterance_id", "utt_id", "segment_id", "uuid"),
  "dataset": ("dataset", "dataset_name"),
  "language": ("language", "lang", "locale"),
  "duration": ("duration",),
  "reference": ("reference", "ref", "ground_truth", "target", *_TEXTS),
  "hypothesis": ("hypothesis", "hyp", "pred_text", "prediction", "predicted_text", "pred", *_TEXTS),
  "complete": ("complete",),
}
_AUDIO_NAMES = ("audio_filepath", "audio_path", "audio_file", "audio", "wav", "file")


def describe_cut(cut: int, total: int, max_new_tokens: int | None) -> str:
  """Says how many transcripts were cut at `max_new_tokens`, and that raising it gives more room."""
  limit = "max_new_tokens" if max_new_tokens is None else f"max_new_tokens={max_new_tokens}"
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
    self._file.write(json.dumps(dataclasses.asdict(hypothesis), ensure_ascii=False) + "\n")
    self.count += 1


def read_hypotheses(path: str | os.PathLike[str]) -> list[Hypothesis]:
  """Reads a file, compressed or not, or the *.jsonl files of a directory in the order of names.

  Other systems' outputs can be scored: fields may have the usual names (such as NeMo's `text` and
  `pred_text`), unknown ones are ignored, an utterance without an id is named by its sound file or
  its line, and languages are given by code or name.

  Raises:
    ValueError: nothing at `path`, a shard missing from a set, a line that is not a hypothesis, or
      an utterance that occurs twice; the message names file and line.
  """
  hypotheses: list[Hypothesis] = []
  places: dict[tuple[str, str], str] = {}
  for file in _files(epath.Path(path)):
    for number, line in enumerate(_lines(file), 1):
      if not line.strip():
        continue
      place = f"{file}:{number}"
      hypothesis, named = _parse(line, place, f"{file.name}:{number}")
      key = (hypothesis.dataset, hypothesis.id)
      if key in places and not named:
        hypothesis = dataclasses.replace(hypothesis, id=f"{hypothesis.id} ({file.name}:{number})")
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


def _lines(file: epath.Path) -> Iterator[bytes]:
  """Yields the lines of a file, decompressed."""
  try:
    # Bytes split at b"\n" alone: U+2028 and friends inside a transcript end no line.
    with file.open("rb") as content:
      yield from decompress(content)
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
      raise ValueError(f"{directory}: {len(missing)} of {count} shards missing, first {missing[0]}")


def _parse(line: bytes, place: str, nameless: str) -> tuple[Hypothesis, bool]:
  """Parses a hypothesis, and whether the line gives its id; else it is `nameless`."""
  try:
    value = json.loads(line.removeprefix(codecs.BOM_UTF8))
  except (ValueError, RecursionError) as error:  # syntax and UTF-8; nesting without end
    raise ValueError(f"{place}: not a line of JSON in UTF-8: {error}") from error
  if type(value) is not dict:
    raise ValueError(f"{place}: expected a JSON object, got {type(value).__name__}")
  fields = _choose(value, place)
  named = "id" in fields
  identifier = str(fields.get("id", "")) if named else _name_by_sound(value) or nameless
  try:
    hypothesis = Hypothesis(
      **fields
      | {
        "id": identifier,
        "language": _language(fields.get("language", "")),
        "duration": float(fields.get("duration", 0.0)),
      }
    )
  except (ValueError, OverflowError) as error:
    raise ValueError(f"{place}: {error}") from error
  return hypothesis, named


def _choose(line: dict[str, Any], place: str) -> dict[str, Any]:
  """Returns the fields of a hypothesis that a line has, by our names."""
  fields: dict[str, Any] = {}
  taken = None  # the same text is not both reference and hypothesis
  for field, names in _FIELD_NAMES.items():
    name = next((name for name in names if name in line and name != taken), None)
    if field == "reference":
      taken = name
    if name is None and field in ("reference", "hypothesis"):
      raise ValueError(f"{place}: no {field}; expected one of {', '.join(names)}")
    if name is None or (line[name] is None and field != "reference"):
      continue
    if type(line[name]) not in _FIELD_TYPES[field]:  # isinstance would take true for a number
      expected = " or ".join(kind.__name__ for kind in _FIELD_TYPES[field])
      raise ValueError(f"{place}: {name} is {line[name]!r:.80}, expected {expected}")
    fields[field] = line[name]
  return {"hypothesis": ""} | fields


def _name_by_sound(line: dict[str, Any]) -> str:
  """Returns the sound file's name with the segment's bounds; "" where there is none."""
  path = next((line[name] for name in _AUDIO_NAMES if isinstance(line.get(name), str)), "")
  offset = line.get("offset")
  return os.path.basename(path) + (f"@{offset}" if path and offset else "")


def _language(value: str) -> str | None:
  name = language_name(value) if is_name(value) else value
  return None if name in ("", NO_LANGUAGE) else name
