"""Lines for the terminal, from several threads, each whole."""

from __future__ import annotations

import sys
import threading
from typing import TextIO

_LOCK = threading.Lock()
_COLOURS = (36, 33, 35, 32, 34, 31)  # of workers, by their number


def say(text: str) -> None:
  """Prints a line of the program's own to standard error."""
  with _LOCK:
    _write(sys.stderr, f"{text}\n")


def show(name: str, number: int, text: str) -> None:
  """Prints a line of a worker's output with its name to standard output."""
  prefix = f"[{name}]"
  if sys.stdout.isatty():
    prefix = f"\x1b[{_COLOURS[number % len(_COLOURS)]}m{prefix}\x1b[0m"
  with _LOCK:
    _write(sys.stdout, f"{prefix} {text}\n")


def _write(stream: TextIO, text: str) -> None:
  try:
    stream.write(text)
    stream.flush()
  except UnicodeEncodeError:
    stream.write(text.encode("ascii", "backslashreplace").decode())
    stream.flush()
  except OSError:
    return  # the terminal is gone, the run is not
