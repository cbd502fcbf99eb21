"""Output of one worker: to its log file as it is, to the terminal line by line."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from pathlib import Path

from orchestration.console import say, show

TAIL = 20  # lines that a summary shows
_WIDEST = 2000  # characters of each
_LONGEST = 8192  # bytes of a line that are held back for its end
_REDRAWN = 5.0  # seconds between two states of a progress bar that are shown


class WorkerLog:
  """The log of a worker.

  Args:
    path: of the file; what it has is kept.
    name: of the worker, for the terminal.
    number: of the worker, for its colour.
  """

  def __init__(self, path: Path, name: str, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    self.path = path
    self.tail: deque[str] = deque(maxlen=TAIL)
    self._file = path.open("ab", buffering=0)
    self._name = name
    self._number = number
    self._rest = b""
    self._redrawn = float("-inf")
    self._lock = threading.RLock()  # the threads of a connection write, the runner ends the log
    self._full = False  # whether the disk took no more

  def begin(self, title: str) -> None:
    """Writes a line to the file that says what follows."""
    with self._lock:
      self._store(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {title}\n".encode())
      self.tail.clear()

  def note(self, text: str) -> None:
    """Writes a line of the ssh client to the file."""
    with self._lock:
      self._store(f"[connection] {text}\n".encode(errors="replace"))

  def write(self, data: bytes) -> None:
    """Takes a piece of output."""
    with self._lock:
      self._store(data)
      parts = re.split(rb"(\r\n|\n|\r(?!\Z))", self._rest + data)
      self._rest = parts.pop()
      self._show([line for line, end in zip(parts[::2], parts[1::2]) if self._is_shown(end)])
      if len(self._rest) > _LONGEST:
        self.flush()

  def flush(self) -> None:
    """Shows the last line although it has no end."""
    with self._lock:
      if self._rest:
        rest, self._rest = self._rest.rstrip(b"\r"), b""
        self._show([rest])

  def close(self) -> None:
    """Ends the log; what comes later is dropped."""
    with self._lock:
      self.flush()
      self._file.close()

  def _store(self, data: bytes) -> None:
    """Adds to the file; a full disk ends the log, not the run."""
    view = memoryview(data)
    try:
      while view and not self._file.closed:
        view = view[self._file.write(view) :]
      self._full = False
    except OSError as error:
      if not self._full:
        self._full = True
        say(f"{self.path} cannot be written, the run goes on without it: {error.strerror}")

  def _is_shown(self, end: bytes) -> bool:
    """Tells whether a line is shown: of a progress bar one every few seconds is."""
    if end != b"\r":
      return True
    now = time.monotonic()
    if now - self._redrawn < _REDRAWN:
      return False
    self._redrawn = now
    return True

  def _show(self, lines: list[bytes]) -> None:
    if lines and not self._file.closed:
      texts = [line.decode(errors="replace") for line in lines]
      self.tail.extend(text if len(text) <= _WIDEST else f"...{text[-_WIDEST:]}" for text in texts)
      show(self._name, self._number, texts)
