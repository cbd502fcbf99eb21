"""Answers of a server on disk: a line for each clip, and the settings that they belong to.

`answers.jsonl` holds hypotheses, which `maxtext-ext evaluate` reads; a line is appended when its
clip is answered or given up. `benchmark.json` holds the settings.
"""

import json
import os
from collections.abc import Mapping
from types import TracebackType
from typing import IO, Any, Self

from maxtext_ext.evaluate.hypothesis import ERROR, Hypothesis
from maxtext_ext.evaluate.hypothesis_line import format_line, parse_line
from maxtext_ext.files import storage
from maxtext_ext.files.writing import writing
from maxtext_ext.server_benchmark.data import Key

ANSWERS_NAME = "answers.jsonl"
SETTINGS_NAME = "benchmark.json"


class AnswerFile:
  """Answers in a folder, a context manager; the caller is its only writer.

  Lines of clips without a transcript are removed, so that these clips are asked for again, and so
  is a last line that an interruption has cut.

  Attributes:
    answered: clips with a transcript.
    failed: number of clips given up since the file was opened.

  Raises:
    ValueError: the folder has answers of other settings, or a line that is none.
  """

  def __init__(self, folder: str, settings: Mapping[str, Any]) -> None:
    if storage.is_url(folder):
      raise ValueError(f"{folder}: answers are appended one by one; expected a local folder")
    self._path = os.path.join(folder, ANSWERS_NAME)
    _claim(folder, settings, has_answers=os.path.exists(self._path))
    kept = []
    self.answered: set[Key] = set()
    self.failed = 0
    for number, line in enumerate(_read_lines(self._path), 1):
      place = f"{self._path}:{number}"
      answer, _ = parse_line(line, place, place)
      if ERROR not in answer.extra:
        kept.append(line + b"\n")
        self.answered.add(_key(answer))
    if os.path.exists(self._path):
      storage.write_bytes(self._path, b"".join(kept))
    self._file: IO[str] | None = None

  def __enter__(self) -> Self:
    with writing(self._path):
      self._file = open(self._path, "a", encoding="utf-8", newline="\n")
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    assert self._file is not None
    self._file.close()

  def append(self, answer: Hypothesis) -> None:
    """Writes a line, which an end of this process does not lose.

    Raises:
      OSError: it cannot be written.
    """
    assert self._file is not None, "append() belongs inside the with block"
    with writing(self._path):
      self._file.write(format_line(answer) + "\n")
      self._file.flush()
    if ERROR in answer.extra:
      self.failed += 1
    else:
      self.answered.add(_key(answer))


def _key(answer: Hypothesis) -> Key:
  return answer.dataset, answer.id


def _claim(folder: str, settings: Mapping[str, Any], *, has_answers: bool) -> None:
  """Writes the settings of a new folder, or compares them with those that are there."""
  path = os.path.join(folder, SETTINGS_NAME)
  wanted = json.loads(json.dumps(settings))
  if not os.path.exists(path):
    if has_answers:
      raise ValueError(f"{folder}: has {ANSWERS_NAME} without {SETTINGS_NAME}; name another --out")
    storage.write_bytes(path, json.dumps(wanted, ensure_ascii=False, indent=2).encode() + b"\n")
    return
  try:
    found = json.loads(storage.read_bytes(path))
  except ValueError as error:
    raise ValueError(f"{path}: not JSON ({error}); name another --out") from error
  if found != wanted:
    before = found if isinstance(found, dict) else {}
    names = [name for name in {**before, **wanted} if before.get(name) != wanted.get(name)]
    differences = ", ".join(
      f"{name} was {_show(before.get(name))}, is {_show(wanted.get(name))}" for name in names
    )
    raise ValueError(
      f"{folder}: its answers have other settings ({differences}); use those, or another --out"
    )


def _show(value: Any) -> str:
  return json.dumps(value, ensure_ascii=False)


def _read_lines(path: str) -> list[bytes]:
  """Returns the lines of a file without their ends; one without an end is not complete."""
  if not os.path.exists(path):
    return []
  # Bytes split at b"\n" alone: U+2028 and friends inside a transcript end no line.
  return storage.read_bytes(path).split(b"\n")[:-1]
