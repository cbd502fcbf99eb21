"""Where the numbers of a run go: TensorBoard, `metrics.jsonl`, and the terminal."""

import dataclasses
import math
import sys
import time
from collections.abc import Sequence
from typing import Any

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
from maxtext_ext.files.jsonl import StepLines
from maxtext_ext.train.samples import SAMPLES_FILE, Sample, to_markdown

PLAIN_INTERVAL = 10.0  # seconds between lines where there is no terminal to draw in


class MetricWriter:
  """Scalars of a run into `{run_dir}/metrics.jsonl` and a TensorBoard folder; samples beside them.

  A disk that is full is noticed by the file, before TensorBoard's thread fails where nobody looks.

  Args:
    start: steps completed before; what an earlier attempt wrote after it is dropped.
    evaluated: the last step of an evaluation that counts, up to `start`. One after it was broken
      off, and its samples are dropped.
  """

  def __init__(
    self, run_dir: str, tensorboard_dir: str | None, *, start: int, evaluated: int = 0
  ) -> None:
    self._metrics = StepLines(run_dir, METRICS_FILE, until=start)
    self._samples = StepLines(run_dir, SAMPLES_FILE, until=evaluated)
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
    self._metrics.write({"step": step, **names})
    if self._board is not None:
      for key, value in scalars.items():
        self._board.add_scalar(key, value, step)

  def write_samples(self, step: int, samples: Sequence[Sample]) -> None:
    """Writes samples of an evaluation.

    Raises:
      OSError: the file cannot be written.
    """
    for sample in samples:
      self._samples.write({"step": step, **dataclasses.asdict(sample)})
    if self._board is not None and samples:
      self._board.add_text("eval/samples", to_markdown(samples), step)

  def flush(self) -> None:
    """Makes what was written visible to others."""
    self._samples.flush()  # before the metrics, which say that the evaluation took place
    self._metrics.flush()
    if self._board is not None:
      self._board.flush()

  def close(self) -> None:
    """Flushes, and closes the files and the board."""
    self._samples.close()
    self._metrics.close()
    if self._board is not None:
      self._board.close()


class ProgressLine:
  """A line of progress with time left: drawn on a terminal, printed now and then elsewhere.

  Args:
    above: the line, entered, under which this one is drawn as long as it is entered.
  """

  def __init__(
    self,
    title: str,
    total: int,
    *,
    start: int = 0,
    visible: bool = True,
    above: "ProgressLine | None" = None,
  ) -> None:
    self._title, self._total, self._start = title, total, start
    self._visible = visible if above is None else above._visible
    self._above = above
    self._began = self._last = time.monotonic()
    self._console = Console(file=sys.stderr)
    self._bar: Progress | None = None
    self._task: Any = None

  def __enter__(self) -> "ProgressLine":
    if self._above is not None:
      self._bar = self._above._bar
    elif self._visible and self._console.is_terminal:
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
    if self._bar is not None:
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
    if self._bar is None:
      return
    if self._above is not None:
      self._bar.remove_task(self._task)
    else:
      self._bar.stop()
