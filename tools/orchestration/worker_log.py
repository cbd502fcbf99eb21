"""Output of one worker: to its log file as it is, to the terminal line by line."""

from __future__ import annotations

import re
import time
from collections import deque
from pathlib import Path

from orchestration.console import show

TAIL = 20  # lines that a summary shows
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

  def begin(self, title: str) -> None:
    """Writes a line to the file that says what follows."""
    self._file.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {title}\n".encode())
    self.tail.clear()

  def note(self, text: str) -> None:
    """Writes a line of the ssh client to the file."""
    self._file.write(f"[connection] {text}\n".encode())

  def write(self, data: bytes) -> None:
    """Takes a piece of output."""
    self._file.write(data)
    parts = re.split(rb"(\r\n|\n|\r(?!\Z))", self._rest + data)
    self._rest = parts.pop()
    for line, end in zip(parts[::2], parts[1::2]):
      self._show(line, redrawn=end == b"\r")
    if len(self._rest) > _LONGEST:
      self.flush()

  def flush(self) -> None:
    """Shows the last line although it has no end."""
    if self._rest:
      self._show(self._rest.rstrip(b"\r"), redrawn=False)
      self._rest = b""

  def close(self) -> None:
    """Ends the log."""
    self.flush()
    self._file.close()

  def _show(self, line: bytes, *, redrawn: bool) -> None:
    text = line.decode(errors="replace")
    now = time.monotonic()
    if redrawn:
      if now - self._redrawn < _REDRAWN:
        return
      self._redrawn = now
    self.tail.append(text)
    show(self._name, self._number, text)
