"""Lines for the terminal, from several threads, each whole, and without waiting for a stuck one."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections import deque
from typing import TextIO

_COLOURS = (36, 33, 35, 32, 34, 31)  # of workers, by their number
_HELD = 2**20  # characters that wait for the terminal until the workers have to wait as well
_STUCK = 2.0  # seconds without progress until workers' lines are left out


class _Screen:
  """A terminal, written by a thread of its own: it may be held (Ctrl-S, a pager), or gone."""

  def __init__(self) -> None:
    self._changed = threading.Condition()
    self._lines: deque[tuple[TextIO, str]] = deque()
    self._size = 0
    self._left_out = 0
    self._moved = time.monotonic()  # when the terminal took something last
    self._writing = False
    self._thread: threading.Thread | None = None

  def put(self, stream: TextIO, text: str, *, may_wait: bool) -> None:
    """Adds text; with `may_wait` it may wait for the terminal, and is left out if that is stuck."""
    with self._changed:
      if self._thread is None:
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        atexit.register(self.finish)
      while may_wait and self._size > _HELD:
        if self._stuck():
          self._left_out += text.count("\n")
          return
        self._changed.wait(0.1)
      if self._left_out and self._size <= _HELD:
        note = f"{self._left_out} lines are not shown here; the workers' logs have them\n"
        self._left_out = 0
        self._add(stream, note)
      self._add(stream, text)

  def finish(self) -> None:
    """Waits until all is written, or the terminal is stuck."""
    with self._changed:
      self._moved = time.monotonic()
      while (self._size or self._writing) and not self._stuck():
        self._changed.wait(0.1)

  def _add(self, stream: TextIO, text: str) -> None:
    if not self._size and not self._writing:
      self._moved = time.monotonic()
    self._lines.append((stream, text))
    self._size += len(text)
    self._changed.notify_all()

  def _stuck(self) -> bool:
    return time.monotonic() - self._moved > _STUCK

  def _work(self) -> None:
    while True:
      with self._changed:
        while not self._lines:
          self._changed.wait()
        stream, text = self._lines.popleft()
        self._size -= len(text)
        self._writing = True
      _write(stream, text)
      with self._changed:
        self._writing = False
        self._moved = time.monotonic()
        self._changed.notify_all()


def _write(stream: TextIO, text: str) -> None:
  """Writes around Python's buffer, whose lock would keep the program from ending."""
  view = memoryview(text.encode(stream.encoding or "utf-8", "backslashreplace"))
  while view:
    try:
      view = view[os.write(stream.fileno(), view) :]
    except BlockingIOError:  # another program has made the terminal so
      time.sleep(0.05)
    except (OSError, ValueError):
      return  # the terminal is gone, the run is not


_SCREENS: dict[tuple[int, int], _Screen] = {}  # by what is written to; its order is kept
_LOCK = threading.Lock()


def _put(stream: TextIO | None, text: str, *, may_wait: bool) -> None:
  if stream is None:  # closed when the program began
    return
  try:
    status = os.fstat(stream.fileno())
  except (OSError, ValueError):  # a buffer of this program, which is never stuck
    stream.write(text)
    return
  with _LOCK:
    screen = _SCREENS.setdefault((status.st_dev, status.st_ino), _Screen())
  screen.put(stream, text, may_wait=may_wait)


def say(text: str) -> None:
  """Prints a line of the program's own to standard error; never waits."""
  _put(sys.stderr, f"{text}\n", may_wait=False)


def show(name: str, number: int, lines: list[str]) -> None:
  """Prints lines of a worker's output with its name to standard output."""
  prefix = f"[{name}]"
  if sys.stdout and sys.stdout.isatty():
    prefix = f"\x1b[{_COLOURS[number % len(_COLOURS)]}m{prefix}\x1b[0m"
  _put(sys.stdout, "".join(f"{prefix} {line}\n" for line in lines), may_wait=True)
