"""Processes that tests look at from outside."""

import pathlib
import time
from collections.abc import Callable

_PATIENCE = 60  # seconds


def wait_until(condition: Callable[[], bool]) -> None:
  """Waits for something that another process does."""
  deadline = time.monotonic() + _PATIENCE
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.05)


def wait_until_gone(pid: int) -> None:
  """Waits until a process has ended."""
  wait_until(lambda: _state(pid) in ("", "Z"))  # Z: nobody has asked for its status


def children(pid: int) -> list[int]:
  """The processes that a process has started and that still run."""
  parents = {int(path.name): _parent(path.name) for path in pathlib.Path("/proc").glob("[0-9]*")}
  return [child for child, parent in parents.items() if parent == pid and _state(child) != "Z"]


def _state(pid: int) -> str:
  return _fields(str(pid))[0]


def _parent(pid: str) -> int:
  return int(_fields(pid)[1])


def _fields(pid: str) -> list[str]:
  """State and parent of a process."""
  try:
    status = pathlib.Path(f"/proc/{pid}/stat").read_text()
  except (FileNotFoundError, ProcessLookupError):
    return ["", "0"]
  return status.rpartition(")")[2].split()[:2]
