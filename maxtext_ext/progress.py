"""Progress lines of commands, on the error stream."""

import functools
import sys
import time
from collections.abc import Callable, Hashable
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

from maxtext_ext.escape import printable

PLAIN_INTERVAL = 10.0  # seconds between lines where there is no terminal to draw in


def say(text: str) -> None:
  """Writes a line at once; above a progress bar, where there is one."""
  sys.stderr.write(f"{printable(text)}\n")
  sys.stderr.flush()


def announce_first_call[**P, T](
  function: Callable[P, T],
  what: str,
  *,
  visible: bool = True,
  program: Callable[P, Hashable] = lambda *_, **__: None,
) -> Callable[P, T]:
  """The function, whose first call says what it does and how long it took.

  A jitted function compiles at its first call, which takes up to minutes.

  Args:
    what: such as "compiling the training step".
    program: arguments -> which program they need, where there are several; each is announced.
  """
  announced: set[Hashable] = set()

  @functools.wraps(function)
  def call(*args: P.args, **kwargs: P.kwargs) -> T:
    if not visible or (needed := program(*args, **kwargs)) in announced:
      return function(*args, **kwargs)
    announced.add(needed)
    say(f"{what} ...")
    began = time.monotonic()
    result = function(*args, **kwargs)
    say(f"{what}: {time.monotonic() - began:.1f} s")
    return result

  return call


class ProgressLine:
  """A line of progress with time left: drawn on a terminal, printed now and then elsewhere.

  Args:
    total: None where it is not known.
    above: the line, entered, under which this one is drawn as long as it is entered.
  """

  def __init__(
    self,
    title: str,
    total: int | None,
    *,
    start: int = 0,
    visible: bool = True,
    above: "ProgressLine | None" = None,
  ) -> None:
    self._title, self._total, self._start = title, total, start
    self._visible: bool = visible if above is None else above._visible
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
      if self._total is None:
        line = f"{self._title} {done}  {note}"
      else:
        rate = (done - self._start) / max(now - self._began, 1e-9)
        left = (self._total - done) / rate if rate > 0 else 0.0
        line = f"{self._title} {done}/{self._total}  {note}  {left:.0f} s left"
      sys.stderr.write(f"{line}\n")
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
