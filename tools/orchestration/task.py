"""Task of a run: what all workers do, within which limits, and how it ended."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field

LOST = 255  # exit status of ssh when the connection fails, and ours
TIMED_OUT = 124
PEER_LOST = 42  # of a process that ends because another is lost: never the cause


@dataclass(frozen=True)
class Task:
  """Task of all workers.

  Attributes:
    id: of this attempt; its processes on the workers are known by it.
    command: for bash.
    folder: where it runs; created from the archive, if there is one.
    archive: name of the copied code in the home folder.
    sha256: of the archive.
    secrets: variables that go through standard input.
    wait_for_device: seconds to wait until nobody holds the accelerator; 0: not at all.
    grace: seconds that the command has to end when the connection is lost.
  """

  id: str
  command: str
  folder: str
  archive: str = ""
  sha256: str = ""
  secrets: dict[str, str] = field(default_factory=dict)
  wait_for_device: float = 0.0
  grace: float = 30.0


@dataclass(frozen=True)
class Limits:
  """Seconds and numbers that bound a run.

  Attributes:
    connect: seconds for a worker to answer.
    retries: more attempts to connect.
    command: seconds for the command; 0: without end.
    fail_grace: seconds that the others have to end when a worker has failed.
    stop_grace: seconds that all have to end when somebody wishes so.
  """

  connect: float = 90.0
  retries: int = 4
  command: float = 0.0
  fail_grace: float = 5.0
  stop_grace: float = 30.0


@dataclass(frozen=True)
class Outcome:
  """End of a run.

  Attributes:
    status: exit status of the runner.
    text: one line.
    tail: last lines of the worker that caused it.
    wished: whether somebody wished the end.
    unconfirmed: names of workers on which processes may still run.
  """

  status: int
  text: str
  tail: tuple[str, ...] = ()
  wished: bool = False
  unconfirmed: tuple[str, ...] = ()


def describe_status(status: int) -> str:
  """Says how a command ended; negative: by that signal."""
  if status == PEER_LOST:
    return f"ended with exit status {status}, because another was lost: its last line says which"
  if status >= 0:
    return f"ended with exit status {status}"
  try:
    return f"was ended by signal {-status} ({signal.Signals(-status).name})"
  except ValueError:
    return f"was ended by signal {-status}"
