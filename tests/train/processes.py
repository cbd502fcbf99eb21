"""Real training processes, forked from one that has the imports behind it: seconds less each."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping

from tests import tiny

ROOT = pathlib.Path(__file__).parents[2]
LAUNCHER = """
import json, os, resource, signal, sys
os.nice(19)  # on a busy machine too, a test that watches a run sees each of its moments
sys.modules["tensorflow"] = None
import maxtext_ext.train.loop
from maxtext_ext.compat.dispatch import train
from maxtext_ext.errors import exit_with_one_line
for line in sys.stdin:
  asked = json.loads(line)
  if "wait" in asked:
    print(os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1]), flush=True)
    continue
  child = os.fork()
  if child:
    print(child, flush=True)
    continue
  said = os.open(asked["errors"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
  os.dup2(said, 1)
  os.dup2(said, 2)
  os.environ.update(asked["environment"])
  if limit := asked["largest_file"]:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
  exit_with_one_line(train)(asked["argv"])
  sys.exit(0)
"""


class Training:
  """A training process."""

  def __init__(self, pid: int, launcher: "Launcher", errors: pathlib.Path) -> None:
    self.pid = pid
    self._launcher = launcher
    self._errors = errors
    self._status: int | None = None

  def send(self, number: signal.Signals) -> None:
    os.kill(self.pid, number)

  @property
  def alive(self) -> bool:
    """Returns whether it has not ended."""
    if self._status is not None:
      return False
    state = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"

  def wait(self) -> int:
    """Its exit status, or -signal."""
    if self._status is None:
      self._status = int(self._launcher.ask(wait=self.pid))
    return self._status

  @property
  def errors(self) -> str:
    """Text that it wrote for people."""
    return self._errors.read_text("utf-8")


class Launcher:
  """Starts training processes."""

  def __init__(self, folder: pathlib.Path) -> None:
    self._folder = folder
    self._started: list[Training] = []
    self._process = subprocess.Popen(
      [sys.executable, "-c", LAUNCHER],
      env=environment(),
      cwd=ROOT,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )

  def ask(self, **message: object) -> str:
    """The launcher's answer, a line."""
    self._process.stdin.write(json.dumps(message) + "\n")
    self._process.stdin.flush()
    return self._process.stdout.readline()

  def start(
    self, *keys: str, largest_file: int = 0, environment: Mapping[str, str] | None = None
  ) -> Training:
    """Trains the tiny run.

    Args:
      largest_file: bytes; the system refuses to write more into a file. 0: no such limit.
      environment: more variables.
    """
    argv = ["train", tiny.DEMO, *tiny.last_wins(keys)]
    errors = self._folder / f"errors-{len(self._started)}.txt"
    asked = {"argv": argv, "errors": str(errors), "largest_file": largest_file}
    pid = int(self.ask(**asked, environment=dict(environment or {})))
    self._started.append(Training(pid, self, errors))
    return self._started[-1]

  def start_all(self, processes: int, *keys: str, devices: int = 1) -> list[Training]:
    """Trains with so many processes of so many devices."""
    flags = {"XLA_FLAGS": xla_flags(devices)}
    if processes > 1:
      flags |= {"JAX_COORDINATOR_ADDRESS": free_address(), "JAX_NUM_PROCESSES": str(processes)}
    return [
      self.start(*keys, environment={**flags, "JAX_PROCESS_ID": str(index)})
      for index in range(processes)
    ]

  def close(self) -> None:
    for training in self._started:
      if training.alive:
        training.send(signal.SIGKILL)
        training.wait()
    self._process.stdin.close()
    self._process.wait()
    self._process.stdout.close()


def environment(**more: str) -> dict[str, str]:
  """Environment of a process that finds the package in the repository."""
  path = os.pathsep.join([str(ROOT), str(ROOT / "maxtext_ext" / "compat")])
  return {**os.environ, "PYTHONPATH": path, **more}


def xla_flags(devices: int) -> str:
  """Those of this process, and so many devices."""
  return f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"


def free_address() -> str:
  """An address of this machine where nobody listens."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    return f"127.0.0.1:{free.getsockname()[1]}"


@contextlib.contextmanager
def launcher(folder: pathlib.Path) -> Iterator[Launcher]:
  made = Launcher(folder)
  try:
    yield made
  finally:
    made.close()


def wait_until(condition: Callable[[], bool], *trainings: Training) -> None:
  """Returns when the condition holds; an error when a process ends before, or in 5 minutes."""
  until = time.monotonic() + 300
  while not condition():
    alive = all(training.alive for training in trainings)
    assert alive and time.monotonic() < until, [training.errors for training in trainings]
    time.sleep(0.005)


def saved_steps(run_dir: pathlib.Path) -> list[int]:
  """The steps of a run's checkpoints."""
  names = (path.name for path in (run_dir / "checkpoints").glob("*"))
  return sorted(int(name) for name in names if name.isdigit())
