"""Where the numbers of a run go: TensorBoard, `metrics.jsonl`, and the terminal."""

import json
import math
import sys
import time
from typing import IO, Any

from etils import epath
from rich.console import Console
from rich.progress import (
  BarColumn,
  MofNCompleteColumn,
  Progress,
  TextColumn,
  TimeElapsedColumn,
  TimeRemainingColumn,
)
from tensorboardX import SummaryWriter

from maxtext_ext.evaluate.metrics import METRICS_FILE

PLAIN_INTERVAL = 10.0  # seconds between lines where there is no terminal to draw in


class MetricWriter:
  """Scalars of a run into `{run_dir}/metrics.jsonl` and a TensorBoard folder.

  On a disk the file grows line by line; a bucket, which cannot append, gets it whole at `flush`. A
  disk that is full is so noticed at once, before TensorBoard's thread fails where nobody looks.

  Args:
    start: steps completed before; what an earlier attempt wrote after it is dropped, so that a
      resumed run's file reads like an uninterrupted one's.
  """

  def __init__(self, run_dir: str, tensorboard_dir: str | None, *, start: int) -> None:
    folder = epath.Path(run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    self._path = folder / METRICS_FILE
    self._appends = "://" not in run_dir
    self._kept = [line for line in _lines(self._path) if json.loads(line)["step"] <= start]
    if not start:
      self._kept = []
    self._file: IO[str] | None = None
    if self._appends:
      partial = folder / f"{METRICS_FILE}.partial"
      partial.write_text("".join(self._kept))
      partial.replace(self._path)
      self._file = open(self._path, "a", 1, encoding="utf-8")  # noqa: SIM115 - closed in close()
    self._board = (
      SummaryWriter(tensorboard_dir, purge_step=start + 1 if start else None)
      if tensorboard_dir
      else None
    )

  def write(self, step: int, scalars: dict[str, float]) -> None:
    """Writes scalars named `group/name`; the file has their names, and `eval_name` for eval's.

    Those that are not finite are left out: JSON has no word for them.

    Raises:
      OSError: the file cannot be written.
    """
    scalars = {key: value for key, value in scalars.items() if math.isfinite(value)}
    names = {
      key.replace("/", "_") if key.startswith("eval/") else key.split("/", 1)[1]: value
      for key, value in scalars.items()
    }
    line = json.dumps({"step": step, **names}) + "\n"
    if self._file is not None:
      try:
        self._file.write(line)
      except OSError as error:
        raise OSError(f"{self._path} cannot be written: {error.strerror}") from error
    else:
      self._kept.append(line)
    if self._board is not None:
      for key, value in scalars.items():
        self._board.add_scalar(key, value, step)

  def flush(self) -> None:
    """Makes what was written visible to others."""
    if self._file is not None:
      self._file.flush()
    else:
      self._path.write_text("".join(self._kept))
    if self._board is not None:
      self._board.flush()

  def close(self) -> None:
    """Flushes, and closes the file and the board."""
    self.flush()
    if self._file is not None:
      self._file.close()
    if self._board is not None:
      self._board.close()


def _lines(path: epath.Path) -> list[str]:
  """The whole lines of a file; a run that was killed may have left half a line at its end."""
  if not path.exists():
    return []
  return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


class ProgressLine:
  """A line of progress with time left: drawn on a terminal, printed now and then elsewhere."""

  def __init__(self, title: str, total: int, *, start: int = 0, visible: bool = True) -> None:
    self._title, self._total, self._start = title, total, start
    self._visible = visible
    self._began = self._last = time.monotonic()
    self._console = Console(file=sys.stderr)
    self._bar: Progress | None = None
    self._task: Any = None

  def __enter__(self) -> "ProgressLine":
    if self._visible and self._console.is_terminal:
      self._bar = Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=self._console,
      )
      self._bar.start()
      self._task = self._bar.add_task(
        self._title, total=self._total, completed=self._start, note=""
      )
    return self

  def update(self, done: int, note: str) -> None:
    """Says that `done` of the total are done."""
    now = time.monotonic()
    if self._bar is not None:
      self._bar.update(self._task, completed=done, note=note)
    elif self._visible and done > self._start and self._due(now, done):
      self._last = now
      rate = (done - self._start) / max(now - self._began, 1e-9)
      left = (self._total - done) / rate if rate > 0 else 0.0
      sys.stderr.write(f"{self._title} {done}/{self._total}  {note}  {left:.0f} s left\n")
      sys.stderr.flush()

  def _due(self, now: float, done: int) -> bool:
    return now - self._last >= PLAIN_INTERVAL or done == self._total

  def __exit__(self, *exc: object) -> None:
    if self._bar is not None:
      self._bar.stop()
