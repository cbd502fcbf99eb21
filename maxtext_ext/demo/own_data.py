"""Division of a user's own JSONL lines into train, validation and test for the demo."""

import collections
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from maxtext_ext.records.schema import RecordError
from maxtext_ext.sources.fields import choose_names, parse_object, value_of
from maxtext_ext.sources.options import SourceOptions

SHARES = {"test": 0.05, "validation": 0.05}  # the rest is training
MOST = {"test": 450, "validation": 200}  # clips
_EXPECTED = 'expected JSON lines like {"audio": "clip.wav", "text": "what is said"}'


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnSplits:
  """Summary of the division.

  Attributes:
    counts: lines of each split.
    by: unit that splits do not share: "speaker", "recording" or "line".
    left_out: lines of test's and validation's speakers or recordings beyond MOST.
  """

  counts: dict[str, int]
  by: str
  left_out: int

  def __str__(self) -> str:
    left_out = f"; {self.left_out:,} lines too many are left out" if self.left_out else ""
    return f"no {self.by} is in two splits{left_out}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Line:
  """Line of the file, from 1.

  Attributes:
    values: its JSON object; empty where it is none.
    names: of these, by what they are in USUAL_NAMES.
    fields: the values under those names.
    problem: why it cannot be used, or "".
  """

  content: bytes
  number: int
  values: dict[str, Any] = dataclasses.field(default_factory=dict)
  names: Mapping[str, str] = dataclasses.field(default_factory=dict)
  fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  problem: str = ""


def split_lines(path: str, out: pathlib.Path) -> OwnSplits:
  """Writes `{out}/{split}.jsonl` from the lines of a JSONL file.

  With three speakers or more, no speaker is in two splits, and lines without a speaker go to
  training. With fewer, recordings are kept together; with fewer than three recordings, only lines.
  Hashes decide the split, not the order of the file. Lines that cannot be used go
  to training as they are, where conversion quarantines them. Audio paths are made absolute.

  Raises:
    ValueError: the file is missing, or too small for three splits.
  """
  if not os.path.isfile(path):
    found = "is a folder" if os.path.isdir(path) else "not found"
    raise ValueError(f"DATA file {path} {found}; {_EXPECTED}")
  folder = os.path.dirname(os.path.abspath(path))
  content = pathlib.Path(path).read_bytes().splitlines()
  lines = [_read(line, n, folder) for n, line in enumerate(content, 1) if line.strip()]
  usable = [line for line in lines if not line.problem]
  if len(usable) <= len(SHARES):
    bad = next((line for line in lines if line.problem), None)
    first = "" if bad is None else f"; line {bad.number}: {bad.problem}"
    raise ValueError(
      f"{path} has {len(usable)} usable lines of {len(lines)}, and three splits need one each;"
      f" {_EXPECTED}{first}"
    )
  by, groups = _group(usable)
  held_out = _deal(groups, len(usable))
  taken = {line.number for part in held_out.values() for line in part}
  splits = {split: part[: MOST[split]] for split, part in held_out.items()}
  splits["train"] = [line for line in lines if line.number not in taken]
  ids = _name(lines, folder)
  out.mkdir(parents=True, exist_ok=True)
  for split, part in splits.items():
    written = [_with_paths(line, folder, ids) for line in part]
    (out / f"{split}.jsonl").write_bytes(b"\n".join(written) + b"\n")
  counts = {split: len(part) for split, part in splits.items()}
  return OwnSplits(counts=counts, by=by, left_out=len(lines) - sum(counts.values()))


def _read(content: bytes, number: int, folder: str) -> _Line:
  try:
    values = parse_object(content)
  except RecordError as error:
    return _Line(content=content, number=number, problem=str(error))
  names = choose_names(values, SourceOptions())
  fields = {field: value_of(values, names, field) for field in names}
  audio, text = fields.get("audio"), fields.get("text")
  problem = ""
  if not isinstance(audio, str) or not isinstance(text, str) or not text.strip():
    problem = "no audio path, or no text"
  elif not os.path.isfile(_absolute(audio, folder)) and "://" not in audio:
    problem = f"{audio}: no such audio file"
  return _Line(
    content=content, number=number, values=values, names=names, fields=fields, problem=problem
  )


def _group(lines: Sequence[_Line]) -> tuple[str, list[list[_Line]]]:
  """Chooses what to cut the splits by; groups lines that must stay together, small groups first."""
  groups_by = {
    "speaker": _groups([(line.fields.get("speaker"), line) for line in lines]),
    "recording": _groups([(line.fields["audio"], line) for line in lines]),
    "line": [[line] for line in lines],
  }
  by = next(by for by, groups in groups_by.items() if len(groups) > len(SHARES))
  ranked = [sorted(group, key=_rank) for group in groups_by[by]]
  return by, sorted(ranked, key=lambda group: (len(group), _rank(group[0])))


def _groups(lines: Sequence[tuple[Any, _Line]]) -> list[list[_Line]]:
  """Groups lines by key; leaves out lines whose key is no name or number."""
  groups: dict[str | int, list[_Line]] = collections.defaultdict(list)
  for key, line in lines:
    if isinstance(key, str | int) and key != "":
      groups[key].append(line)
  return list(groups.values())


def _rank(line: _Line) -> bytes:
  return hashlib.sha256(line.content).digest()


def _deal(groups: Sequence[list[_Line]], total: int) -> dict[str, list[_Line]]:
  """Assigns whole groups to test and validation in turn, until each has its share of the total."""
  wanted = {
    split: min(MOST[split], max(1, round(share * total))) for split, share in SHARES.items()
  }
  dealt: dict[str, list[_Line]] = {split: [] for split in SHARES}
  turns = itertools.cycle(SHARES)
  for group in groups[:-1]:  # one is left for training
    hungry = [split for split in SHARES if len(dealt[split]) < wanted[split]]
    if not hungry:
      break
    dealt[next(split for split in turns if split in hungry)] += group
  return dealt


def _name(lines: Sequence[_Line], folder: str) -> dict[int, str]:
  """Makes ids from sound file names for lines without one, by line number."""
  ids: dict[int, str] = {}
  for line in lines:
    audio = line.fields.get("audio")
    if isinstance(audio, str) and line.fields.get("id") is None:
      inside = os.path.relpath(_absolute(audio, folder), folder)
      ids[line.number] = os.path.basename(audio) if inside.startswith("..") else inside
  count = collections.Counter(ids.values())
  return {n: name if count[name] == 1 else f"{name}, line {n}" for n, name in ids.items()}


def _with_paths(line: _Line, folder: str, ids: Mapping[int, str]) -> bytes:
  """Returns the line with an absolute audio path and an id."""
  audio = line.fields.get("audio")
  if not isinstance(audio, str):
    return line.content
  values = line.values | {line.names["audio"]: _absolute(audio, folder)}
  if line.number in ids:
    values["id"] = ids[line.number]
  return json.dumps(values, ensure_ascii=True).encode()


def _absolute(audio: str, folder: str) -> str:
  return audio if "://" in audio else os.path.join(folder, audio)
