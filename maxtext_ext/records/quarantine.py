"""The list of records that were left out, and why."""

import contextlib
import json
from types import TracebackType

from maxtext_ext.records import storage

REASONS_KEPT = 10


class Quarantine:
  """Collects bad records in a JSONL file: {"split", "id", "file", "position", "reason"} a line.

  A context manager: the file takes its name when the block ends well. Splits that share an output
  folder share the file too, each replaces its own lines.

  Attributes:
    count: records added.
    reasons: the first REASONS_KEPT of them as text, with file and position.
  """

  def __init__(self, path: str, split: str) -> None:
    self._path = path
    self._split = split
    self.count = 0
    self.reasons: list[str] = []

  def __enter__(self) -> "Quarantine":
    others = self._lines_of_other_splits()
    with contextlib.ExitStack() as stack:
      temporary = stack.enter_context(storage.replacing(self._path))
      # Names and ids may hold what UTF-8 cannot (a file name in another encoding).
      self._file = stack.enter_context(
        open(temporary, "w", encoding="utf-8", errors="backslashreplace")
      )
      self._file.writelines(others)
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
    self.count += 1
    if len(self.reasons) < REASONS_KEPT:
      text = f"{file}:{position}: {reason}"
      self.reasons.append(text.encode(errors="backslashreplace").decode())  # can be printed
    line = {
      "split": self._split,
      "id": sample_id,
      "file": file,
      "position": position,
      "reason": reason,
    }
    self._file.write(json.dumps(line, ensure_ascii=False) + "\n")

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    self._stack.__exit__(kind, error, trace)

  def _lines_of_other_splits(self) -> list[str]:
    if not storage.is_file(self._path):
      return []
    try:
      with storage.open_read(self._path) as file:
        lines = [line.decode() for line in file]
      return [line for line in lines if json.loads(line)["split"] != self._split]
    except (ValueError, KeyError, TypeError) as error:
      raise ValueError(
        f"{self._path} is not a quarantine file, expected JSON lines with 'split' ({error!r}); "
        "move it away or choose another output folder"
      ) from error
