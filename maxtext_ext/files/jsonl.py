"""A file of JSON lines that grows with a run and is cut back when the run is."""

import json
from typing import IO, Any

from etils import epath


class StepLines:
  """Lines of JSON in the folder of a run, each with the `step` that it belongs to.

  On a disk the file grows line by line, from the first; a bucket, which cannot append, gets it
  whole at `flush`. A disk that is full is so noticed at once.

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


def _whole_lines(path: epath.Path) -> list[str]:
  """The whole lines of a file; a run that was killed may have left half a line at its end."""
  if not path.exists():
    return []
  # Bytes split at b"\n" alone: U+2028 and friends inside a transcript end no line.
  return [f"{line.decode()}\n" for line in path.read_bytes().split(b"\n")[:-1]]
