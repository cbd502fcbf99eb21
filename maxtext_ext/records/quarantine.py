"""Quarantine: the file of bad records with their reasons, and the limit on their share."""

import contextlib
import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any

from maxtext_ext.escape import printable
from maxtext_ext.files import storage
from maxtext_ext.files.writing import writing

QUARANTINE_NAME = "quarantine.jsonl"
REASONS_KEPT = 10
REASONS_SHOWN = 10
MIN_READ = 1_000  # records: before that, a few bad ones at the start say little of the whole
_MAX_PRINTED = 1_000  # characters; an id may be a book
_SPLITS_JOINED = "+"  # no split has it in its name
# What differs between records with the same thing wrong: numbers, and what stands in quotes.
_PARTICULAR = re.compile(r"'[^']*'|\"[^\"]*\"|\d+(?:\.\d+)?")


class Quarantine:
  """Writer of bad records to a JSONL file: {"split", "id", "file", "position", "reason"} per line.

  A context manager: the file is renamed into place when the block ends without an error.

  Attributes:
    count: records added.
    reasons: the first REASONS_KEPT of them as text, with file and position.
  """

  def __init__(self, path: str, splits: Iterable[str]) -> None:
    self._path = path
    self._splits = tuple(splits)
    self.count = 0
    self.reasons: list[str] = []

  def __enter__(self) -> "Quarantine":
    with contextlib.ExitStack() as stack:
      temporary = stack.enter_context(storage.atomic_write(self._path))
      # Names and ids may hold what UTF-8 cannot (a file name in another encoding).
      self._file = stack.enter_context(
        open(temporary, "w", encoding="utf-8", errors="backslashreplace")
      )
      self._stack = stack.pop_all()
    return self

  def add(self, sample_id: str, file: str, position: int, reason: str) -> None:
    """Notes one record.

    Args:
      sample_id: its id, empty where it could not be read.
      file: the input file that holds it.
      position: where in that file, as its source counts: line from 1, TFRecord from 0.
      reason: what is wrong.
    """
    self.add_line(quarantine_line(self._splits, sample_id, file, position, reason))

  def add_line(self, line: dict[str, Any]) -> None:
    """Notes one record as another Quarantine wrote it."""
    self.count += 1
    if len(self.reasons) < REASONS_KEPT:
      self.reasons.append(as_text(line))
    self._write(line)

  def copy_other_splits(self, path: str) -> None:
    """Copies, uncounted, the lines of `path` whose splits are not all among this one's.

    Raises:
      ValueError: `path` is no quarantine file.
    """
    for line in read_lines(path):
      if not set(self._splits).issuperset(line["split"].split(_SPLITS_JOINED)):
        self._write(line)

  def _write(self, line: dict[str, Any]) -> None:
    with writing(self._path):
      self._file.write(json.dumps(line, ensure_ascii=False) + "\n")

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    with writing(self._path):
      self._stack.__exit__(kind, error, trace)


def label_of(splits: Iterable[str]) -> str:
  """Returns the label for "split": an unreadable record belongs to no single split."""
  return _SPLITS_JOINED.join(splits)


def quarantine_line(
  splits: Iterable[str], sample_id: str, file: str, position: int, reason: str
) -> dict[str, Any]:
  """A line of the file, see `Quarantine.add`."""
  return {
    "split": label_of(splits),
    "id": sample_id,
    "file": file,
    "position": position,
    "reason": reason,
  }


def as_text(line: dict[str, Any]) -> str:
  """Formats a line of the file for printing: one line, whatever the names contain."""
  text = f"{line['file']}:{line['position']}: {line['reason']}"
  shown = printable(text[: _MAX_PRINTED + 1])
  return shown if len(shown) <= _MAX_PRINTED else f"{shown[:_MAX_PRINTED]}..."


def read_lines(path: str) -> Iterable[dict[str, Any]]:
  """Reads a quarantine file, line by line; none if there is no such file.

  Raises:
    ValueError: the file is of another kind.
  """
  if not storage.is_file(path):
    return
  with storage.open_read(path) as file:
    for content in file:
      try:
        line = json.loads(content)
        _ = line["split"].split, line["file"], line["position"], line["reason"]
      except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
          f"{path} is not a quarantine file, expected JSON lines with 'split' ({error!r}); "
          "move it away or choose another output folder"
        ) from error
      yield line


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reason:
  """Records of a split that a conversion left out for one reason.

  Attributes:
    count: how many.
    example: the first of them: file, position and reason.
  """

  split: str
  count: int
  example: str


def read_reasons(path: str) -> list[Reason]:
  """Summarises a quarantine file, most frequent reasons first; nothing for no such file.

  Raises:
    ValueError: the file is of another kind.
  """
  counts: Counter[tuple[str, str]] = Counter()
  examples: dict[tuple[str, str], str] = {}
  for line in read_lines(path):
    key = (line["split"], _PARTICULAR.sub("#", str(line["reason"])))
    counts[key] += 1
    if counts[key] == 1:
      examples[key] = as_text(line)
  return [
    Reason(split=key[0], count=count, example=examples[key]) for key, count in counts.most_common()
  ]


class TooManyBadError(ValueError):
  """More records are bad than `max_bad_fraction` allows.

  Attributes:
    summary: the error in one line.
    reasons: the first few bad records, a line each.
  """

  def __init__(self, summary: str, reasons: Sequence[str]) -> None:
    super().__init__("\n".join((summary, *reasons)))
    self.summary = summary
    self.reasons = tuple(reasons)

  def __reduce__(self) -> tuple[type, tuple[str, tuple[str, ...]]]:
    return type(self), (self.summary, self.reasons)


def too_many(read: int, bad: int, fraction: float, *, ended: bool) -> bool:
  """Returns whether a conversion must stop; before its end only from MIN_READ records on."""
  return bad > fraction * (read if ended else max(read, MIN_READ))


def error_of(read: int, bad: int, fraction: float, reasons: Sequence[str]) -> TooManyBadError:
  """The error that says so."""
  return TooManyBadError(
    f"{bad} of {read} records are bad ({bad / read:.1%}), over max_bad_fraction={fraction:g}; "
    "correct the source, or allow more with --max-bad-fraction: what is done so far is kept",
    reasons,
  )
