"""Stand-in for Google Cloud: TPU slices whose workers are folders and processes of this machine.

All state is in one folder, named by STANDIN_CLOUD, which the stand-in programs and the tests share.
A worker is the folder SLICE/WORKER, its home; a process belongs to it if its HOME is that folder.
"""

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

VARIABLE = "STANDIN_CLOUD"


class Cloud:
  """The state of the stand-in.

  Args:
    folder: where it is; created.
  """

  def __init__(self, folder: Path) -> None:
    self.folder = folder
    folder.mkdir(parents=True, exist_ok=True)

  @contextmanager
  def state(self) -> Iterator[dict[str, Any]]:
    """The state, for reading and changing, by one process at a time."""
    with (self.folder / "lock").open("w") as lock:
      fcntl.flock(lock, fcntl.LOCK_EX)
      path = self.folder / "state.json"
      state = json.loads(path.read_text()) if path.exists() else {}
      for part in ("nodes", "queued", "faults", "calls"):
        state.setdefault(part, [] if part in ("faults", "calls") else {})
      yield state
      path.with_suffix(".new").write_text(json.dumps(state))
      path.with_suffix(".new").replace(path)

  def add_slice(
    self, name: str, workers: int = 4, accelerator_type: str = "v4-32", **more: Any
  ) -> None:
    """Makes a slice whose workers have empty homes."""
    with self.state() as state:
      state["nodes"][name] = {
        "acceleratorType": accelerator_type,
        "runtimeVersion": "tpu-ubuntu2204-base",
        "state": "READY",
        "health": "HEALTHY",
        "workers": workers,
        **more,
      }
    for number in range(workers):
      self.home(name, number).mkdir(parents=True, exist_ok=True)

  def home(self, name: str, worker: int) -> Path:
    """Home folder of a worker."""
    return self.folder / name / str(worker)

  def add_fault(self, verb: str, action: str, **more: Any) -> None:
    """Makes the next calls of a verb (list, describe, ssh, scp, ...) go wrong.

    Args:
      action: fail (with `status` and `text`), hang, delay (`seconds`), or, of ssh, drop (the
        connection, after `seconds`) or deaf (it passes no input on).
      more: also `worker`, `slice` and `times` (1) to choose the calls; `containing`, a text of the
        command.
    """
    with self.state() as state:
      state["faults"].append({"verb": verb, "action": action, "times": 1, **more})

  def take_fault(self, verb: str, **call: Any) -> dict[str, Any] | None:
    """The fault that a call meets; it is used up."""
    with self.state() as state:
      for fault in state["faults"]:
        wanted = {key: fault[key] for key in ("worker", "slice") if key in fault}
        fits = all(call.get(key) == value for key, value in wanted.items())
        fits = fits and fault.get("containing", "") in call.get("command", "")
        if fits and fault["verb"] == verb and fault["times"]:
          fault["times"] -= 1
          return dict(fault)
    return None

  def calls(self) -> list[list[str]]:
    """The arguments of every call so far."""
    with self.state() as state:
      return state["calls"]

  def processes(self, name: str, worker: int) -> dict[int, str]:
    """The living processes of a worker: command lines by process id."""
    home = f"HOME={self.home(name, worker)}".encode()
    found = {}
    for entry in Path("/proc").iterdir():
      if entry.name.isdigit():
        try:
          if home in (entry / "environ").read_bytes().split(b"\0"):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            if command:  # a zombie has none
              found[int(entry.name)] = command
        except OSError:
          continue
    return found

  def end_machine(self, name: str, worker: int) -> None:
    """Ends all processes of a worker, as the loss of its machine does."""
    for _ in range(3):
      for pid in self.processes(name, worker):
        if pid == os.getpid():
          continue  # a machine that ends itself
        with suppress(ProcessLookupError):
          os.kill(pid, signal.SIGKILL)

  def preempt(self, name: str, state_after: str = "PREEMPTED") -> None:
    """Takes a slice away."""
    with self.state() as state:
      node = state["nodes"][name]
      node["state"], workers = state_after, node["workers"]
      queued = state["queued"].get(node.get("queuedResource", "").rpartition("/")[2])
      if queued:
        queued["state"] = "SUSPENDED"
    for worker in range(workers):
      self.end_machine(name, worker)


def here() -> Cloud:
  """The stand-in that the environment names."""
  return Cloud(Path(os.environ[VARIABLE]))


def wait_for(condition: Any, seconds: float = 60.0) -> Any:
  """Waits until a function returns something true; returns that."""
  deadline = time.monotonic() + seconds
  while not (found := condition()):
    assert time.monotonic() < deadline, "it did not come"
    time.sleep(0.05)
  return found
