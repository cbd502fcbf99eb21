"""JSON lines of a run, each with its step: written as the run grows, read back for curves."""

import json
import os
from typing import IO, Any

from etils import epath

# Metrics of a run, in its folder.
METRICS_FILE = "metrics.jsonl"


class StepLines:
  """Lines of JSON in the folder of a run, each with the `step` that it belongs to.

  On a disk the file is appended line by line, so a full disk is noticed at once; a bucket, which
  cannot append, gets the complete file at `flush`.

  Args:
    name: of the file.
    until: lines of later steps, which an earlier attempt wrote, are dropped, so that a resumed
      run's file reads like an uninterrupted one's.
  """

  def __init__(self, run_dir: str, name: str, *, until: int) -> None:
    folder = epath.Path(run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    self._path = folder / name
    lines = _whole_lines(self._path) if until else []
    self._kept = [line for line in lines if json.loads(line)["step"] <= until]
    self._appends = "://" not in run_dir
    self._file: IO[str] | None = None
    if self._appends and self._path.exists():
      partial = folder / f"{name}.partial"
      partial.write_bytes("".join(self._kept).encode())
      partial.replace(self._path)

  def write(self, line: dict[str, Any]) -> None:
    """Adds a line.

    Raises:
      OSError: the file cannot be written.
    """
    text = json.dumps(line, ensure_ascii=False) + "\n"
    if not self._appends:
      self._kept.append(text)
      return
    try:
      if self._file is None:
        self._file = open(self._path, "a", 1, encoding="utf-8")  # noqa: SIM115 - see close()
      self._file.write(text)
    except OSError as error:
      raise OSError(f"{self._path} cannot be written: {error.strerror}") from error

  def flush(self) -> None:
    """Makes what was written visible to others."""
    if self._file is not None:
      self._file.flush()
    elif not self._appends and (self._kept or self._path.exists()):
      self._path.write_bytes("".join(self._kept).encode())

  def close(self) -> None:
    """Flushes and ends the file."""
    self.flush()
    if self._file is not None:
      self._file.close()


def read_metrics(path: str | os.PathLike[str], name: str = "loss") -> list[tuple[int, float]]:
  """Reads one metric from JSON lines like {"step": 10, "loss": 2.5, ...}, by rising step.

  Lines without the metric are ignored. A resumed run may have written steps twice: the later line
  counts. A last line without a line break is incomplete and is dropped.

  Raises:
    ValueError: no such file, or a line that is not of this form; the message names the line.
  """
  file = epath.Path(path)
  if not file.is_file():
    raise ValueError(f"{path}: no such file; expected the metrics.jsonl of a training run")
  values: dict[int, float] = {}
  *lines, _ = file.read_bytes().split(b"\n")
  for number, line in enumerate(lines, 1):
    if not line.strip():
      continue
    try:
      entry = json.loads(line)
    except ValueError as error:
      raise ValueError(f"{path}:{number}: not a line of JSON: {error}") from error
    if type(entry) is not dict or type(entry.get("step")) is not int:
      raise ValueError(f'{path}:{number}: expected an object with a whole number "step"')
    if name not in entry:
      continue
    if type(entry[name]) not in (int, float):
      raise ValueError(f"{path}:{number}: {name} is {entry[name]!r}, expected a number")
    values[entry["step"]] = float(entry[name])
  return sorted(values.items())


def _whole_lines(path: epath.Path) -> list[str]:
  """The whole lines of a file; a run that was killed may have left half a line at its end."""
  if not path.exists():
    return []
  # Bytes split at b"\n" alone: U+2028 and friends inside a transcript end no line.
  return [f"{line.decode()}\n" for line in path.read_bytes().split(b"\n")[:-1]]
