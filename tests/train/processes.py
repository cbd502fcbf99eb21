"""Real training processes, forked from one that has the imports behind it: seconds less each."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests import tiny

ROOT = pathlib.Path(__file__).parents[2]
LAUNCHER = """
import json, os, resource, signal, sys
import maxtext_ext.train.loop
from maxtext_ext.compat.dispatch import train
for line in sys.stdin:
  argv, errors, limit = json.loads(line)
  child = os.fork()
  if not child:
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    if limit:
      signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
      resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    train(argv)
    sys.exit(0)
  print(child, flush=True)
  print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass(frozen=True)
class Training:
  """A training process."""

  pid: int
  _launcher: subprocess.Popen
  _errors: pathlib.Path

  def send(self, number: signal.Signals) -> None:
    os.kill(self.pid, number)

  def wait(self) -> int:
    """Its exit status, or -signal."""
    return int(self._launcher.stdout.readline())

  @property
  def errors(self) -> str:
    """What it wrote for people."""
    return self._errors.read_text("utf-8")


class Launcher:
  """Starts training processes, one at a time."""

  def __init__(self, folder: pathlib.Path) -> None:
    path = os.pathsep.join([str(ROOT), str(ROOT / "maxtext_ext" / "compat")])
    self._folder = folder
    self._process = subprocess.Popen(
      [sys.executable, "-c", LAUNCHER],
      env={**os.environ, "PYTHONPATH": path, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"},
      cwd=ROOT,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )

  def start(self, *keys: str, largest_file: int = 0) -> Training:
    """Trains the tiny run; the programs compiled by one process serve the next.

    Args:
      largest_file: bytes; the system refuses to write more into a file. 0: no such limit.
    """
    argv = ["train", tiny.DEMO, *keys, f"jax_cache_dir={self._folder / 'cache'}"]
    errors = self._folder / "errors.txt"
    self._process.stdin.write(json.dumps([argv, str(errors), largest_file]) + "\n")
    self._process.stdin.flush()
    return Training(int(self._process.stdout.readline()), self._process, errors)

  def close(self) -> None:
    self._process.stdin.close()
    self._process.wait()
    self._process.stdout.close()


@contextlib.contextmanager
def launcher(folder: pathlib.Path) -> Iterator[Launcher]:
  made = Launcher(folder)
  try:
    yield made
  finally:
    made.close()


def wait_until(condition: Callable[[], bool], training: Training) -> None:
  """Returns when the condition holds; an error when the process ends before, or in 5 minutes."""
  until = time.monotonic() + 300
  while not condition():
    alive = pathlib.Path(f"/proc/{training.pid}").exists()
    assert alive and time.monotonic() < until, training.errors
    time.sleep(0.005)


def saved_steps(run_dir: pathlib.Path) -> list[int]:
  """The steps of a run's checkpoints."""
  names = (path.name for path in (run_dir / "checkpoints").glob("*"))
  return sorted(int(name) for name in names if name.isdigit())
