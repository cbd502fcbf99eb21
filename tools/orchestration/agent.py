"""Agent on a worker: runs one command in a session of its own, reports its end, stops it.

This file travels whole inside the command line of ssh (`connection.py`), so it needs nothing on the
worker but Python 3.8. It is called with a mode (run, stop, devices) and a specification in JSON.

Its standard output is that of the command, standard error included, and between it events: a
separator, the token of this connection, JSON, a line end. Its standard input says `alive` every few
seconds, or `stop SECONDS`. When that input ends or falls silent, or nobody reads the output any
more, the connection is lost and the command is stopped.

Every process of the command has MULTIHOST_RUN in its environment, is in the command's session, or
descends from the agent. By these it is found and stopped, however it was started; no other ever is.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import glob
import hashlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from typing import Any, Callable

MARK = "MULTIHOST_RUN"  # environment variable
BEAT = 2.0  # seconds from one sign of life to the next
SILENCE = 45.0  # seconds without one until the connection counts as lost
DRAIN = 1.0  # seconds for output of children that go on after the command
READ = 20.0  # seconds for the other end to read what the command wrote last
CLEAN = 5.0  # seconds for children of a command that failed
STATE = ".multihost"  # folder in the home folder, with one folder a run and worker
KEPT = 24 * 3600.0  # seconds that the folder of a run is kept after its end
_OUTPUT = threading.Lock()


class Event:
  """Reports to the other end."""

  def __init__(self, token: str) -> None:
    self.token = token

  def __call__(self, **fields: Any) -> None:
    """Sends one."""
    line = "\x1e" + self.token + json.dumps(fields) + "\n"
    write(line.encode())


def write(data: bytes) -> None:
  """Writes all bytes to standard output; raises OSError when nobody reads it any more."""
  with _OUTPUT:
    view = memoryview(data)
    while view:
      view = view[os.write(1, view) :]


def started_at(pid: int) -> int | None:
  """Returns when a process was started, in ticks since boot; None: there is none."""
  try:
    with open(f"/proc/{pid}/stat", "rb") as file:
      return int(file.read().rpartition(b")")[2].split()[19])
  except (OSError, ValueError, IndexError):
    return None


def processes_of(mark: bytes, session: int, agent: int = 0) -> list[int]:
  """Returns the ids of the living processes with this mark, of this session, or below an agent."""
  found, strangers = [], []
  parents = {}
  for name in os.listdir("/proc"):
    if not name.isdigit() or int(name) == os.getpid():
      continue
    ours = False
    try:
      with open(f"/proc/{name}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
      parents[int(name)] = int(fields[1])
      if fields[0] in (b"Z", b"X"):
        continue
      ours = bool(session) and int(fields[3]) == session
      if not ours:
        with open(f"/proc/{name}/environ", "rb") as file:
          ours = mark in file.read().split(b"\0")
    except (OSError, IndexError):
      pass  # it has ended, or belongs to another user
    if ours:
      found.append(int(name))
    elif agent and int(name) in parents:
      strangers.append(int(name))
  return found + [pid for pid in strangers if is_below(pid, agent, parents)]


def is_below(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
  """Tells whether a process descends from another."""
  for _ in parents:
    pid = parents.get(pid, 0)
    if pid == ancestor:
      return True
  return False


def send(pid: int, number: int) -> None:
  """Sends a signal, as root where the process was started by sudo."""
  try:
    os.kill(pid, number)
  except ProcessLookupError:
    pass
  except PermissionError:
    subprocess.call(
      ["sudo", "-n", "kill", f"-{number}", str(pid)],
      stdin=subprocess.DEVNULL,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )


def end_processes(
  run_id: str,
  session: int,
  grace: float,
  hurry: Callable[[], float | None] = lambda: None,
  agent: int = 0,
) -> int:
  """Ends the processes of a command: SIGTERM, after `grace` seconds SIGKILL.

  Args:
    session: id of the command's session; 0: not known.
    hurry: returns an earlier deadline, if there is one; None: no such deadline.
    agent: id of the agent that started the command, and which its orphans fall to; 0: none.

  Returns:
    the number of processes that were told to end.
  """
  mark = f"{MARK}={run_id}".encode()
  told = set()
  deadline = time.monotonic() + grace
  while True:
    alive = processes_of(mark, session, agent)
    if not alive:
      return len(told)
    left = deadline - time.monotonic()
    sooner = hurry()
    if sooner is not None:
      left = min(left, sooner - time.monotonic())
    for pid in alive:
      if left <= 0:
        send(pid, signal.SIGKILL)
      elif pid not in told:
        send(pid, signal.SIGTERM)
        send(pid, signal.SIGCONT)  # a stopped process handles nothing
      told.add(pid)
    if left < -10:
      return len(told)  # what SIGKILL does not end waits in the kernel
    time.sleep(0.05)


def device_files() -> list[str]:
  """Returns the accelerator devices of this machine."""
  patterns = os.environ.get("MULTIHOST_DEVICES", "/dev/accel*:/dev/vfio/[0-9]*").split(":")
  return sorted(path for pattern in patterns for path in glob.glob(pattern))


def holders() -> list[str]:
  """Returns the processes that hold an accelerator: a line for each."""
  files = set(device_files())
  lines = []
  for name in os.listdir("/proc") if files else ():
    if not name.isdigit():
      continue
    try:
      held = {os.readlink(link) for link in glob.glob(f"/proc/{name}/fd/*")} & files
      if held:
        with open(f"/proc/{name}/cmdline", "rb") as file:
          command = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
        lines.append("process {} ({:.80}) holds {}".format(name, command, ", ".join(sorted(held))))
    except OSError:
      continue
  return lines


def holders_of_all() -> list[str]:
  """Returns `holders` as root, who sees the processes of all users, where that is allowed."""
  if os.geteuid() == 0 or not device_files():
    return holders()
  with open("/proc/self/cmdline", "rb") as file:
    same = [os.fsdecode(word) for word in file.read().split(b"\0")[:-1]]
  code = (
    same[: same.index("-c") + 2] if "-c" in same else [sys.executable, os.path.abspath(__file__)]
  )
  done = subprocess.run(
    ["sudo", "-n", *code, "holders"],
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
  )
  return json.loads(done.stdout) if done.returncode == 0 else holders()


def wait_for_devices(seconds: float) -> list[str]:
  """Waits until no process holds an accelerator; returns the lines of those that still do.

  Starting libtpu while the last tenant is still leaving hangs.
  """
  deadline = time.monotonic() + seconds
  while True:
    lines = holders_of_all()
    if not lines or time.monotonic() > deadline:
      return lines
    time.sleep(0.5)


def remove_stale_lock() -> None:
  """Removes the lock file of libtpu that a killed process left; nobody holds the device."""
  lock = os.environ.get("MULTIHOST_LOCK", "/tmp/libtpu_lockfile")
  if os.path.exists(lock) and device_files():
    try:
      os.remove(lock)
    except OSError:
      subprocess.call(["sudo", "-n", "rm", "-f", lock], stdin=subprocess.DEVNULL)


def remove_old_states() -> None:
  """Removes the folders of runs that ended long ago."""
  for name in os.listdir(STATE):
    folder = os.path.join(STATE, name)
    if os.path.getmtime(folder) < time.time() - KEPT:
      shutil.rmtree(folder, ignore_errors=True)


class Problem(Exception):
  """Reason why the command could not be started."""


def prepare(spec: dict[str, Any]) -> None:
  """Unpacks the code and goes to the folder where the command runs."""
  folder, archive = spec["folder"], spec.get("archive")
  if archive:
    try:
      with open(archive, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    except OSError as error:
      raise Problem(f"the copied code {archive} is not there: {error}") from error
    if digest != spec["sha256"]:
      raise Problem(f"the copied code {archive} is damaged: copy it again")
    os.makedirs(folder, exist_ok=True)
    done = subprocess.run(
      ["tar", "-xzf", archive, "-C", folder], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    if done.returncode:
      text = done.stderr.decode(errors="replace").strip().splitlines()
      raise Problem(f"tar could not unpack the code: {text[-1] if text else 'no message'}")
    os.remove(archive)
  if not os.path.isdir(folder):
    raise Problem(
      f"there is no folder {folder} in {os.getcwd()}: give the RUN_NAME of an earlier run, or"
      " --USE_EXISTING_FOLDER=false to copy the code"
    )
  os.chdir(folder)


class Run:
  """The command of one worker, from its start to its end."""

  def __init__(self, spec: dict[str, Any]) -> None:
    self.spec = spec
    self.event = Event(spec["token"])
    self.state = os.path.join(os.getcwd(), STATE, spec["id"].replace("/", "-"))
    self.heard = time.monotonic()
    self.speaks = False  # whether the other end has said anything
    self.child = None
    self.stopping = None  # until when the command may take to end
    self.lines = b""
    self.over = threading.Event()  # whether the command has ended

  def start(self) -> bool:
    """Starts the command; returns whether it runs."""
    os.makedirs(self.state, exist_ok=True)
    remove_old_states()
    try:
      os.close(os.open(os.path.join(self.state, "started"), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:  # gcloud repeats a command whose connection was lost
      self.event(again=True)
      return False
    try:
      secrets = self.secrets()
      prepare(self.spec)
      busy = wait_for_devices(self.spec.get("wait_for_device", 0.0))
      if busy and self.spec.get("wait_for_device"):
        raise Problem(
          "the accelerator is still in use after {:g} s: {}".format(
            self.spec["wait_for_device"], "; ".join(busy)
          )
        )
      if not busy:
        remove_stale_lock()
      if self.cancelled():
        raise Problem("the run was stopped before this worker began")
      environment = dict(os.environ, **secrets)
      environment.update(self.spec.get("environment", {}))
      environment[MARK] = self.spec["id"]
      self.child = subprocess.Popen(
        ["bash", "-c", self.spec["command"]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=environment,
      )
    except (Problem, OSError) as error:
      self.event(problem=str(error))
      return False
    with open(os.path.join(self.state, "session"), "w") as file:
      file.write(" ".join(f"{pid} {started_at(pid)}" for pid in (self.child.pid, os.getpid())))
    self.event(started=self.child.pid, host=socket.gethostname(), busy=busy)
    if self.cancelled():  # by one who came before the session was written
      self.stop(self.spec["grace"])
    return True

  def cancelled(self) -> bool:
    """Tells whether another connection has said that the run is over."""
    return os.path.exists(os.path.join(self.state, "cancelled"))

  def secrets(self) -> dict[str, str]:
    """Reads the variables that must not be in a command line: one line of standard input."""
    if not self.spec.get("secrets"):
      return {}
    line = b""
    while not line.endswith(b"\n"):
      piece = os.read(0, 1)
      if not piece:
        raise Problem("the variables of --ENV did not arrive on standard input")
      line += piece
    return json.loads(line.decode())

  def stop(self, seconds: float) -> None:
    """Ends the command, within so many seconds; a second call only shortens them."""
    deadline = time.monotonic() + seconds
    if self.stopping is not None:
      self.stopping = min(self.stopping, deadline)
      return
    self.stopping = deadline
    threading.Thread(target=self.end, args=(seconds,), daemon=True).start()

  def end(self, seconds: float) -> None:
    """Ends the command; for a thread of its own."""
    end_processes(self.spec["id"], self.child.pid, seconds, lambda: self.stopping, os.getpid())

  def listen(self) -> None:
    """Reads from the other end; stops the command when that is gone or asks for it."""
    while True:
      ready = select.select([0], [], [], BEAT)[0]
      if ready:
        try:
          data = os.read(0, 65536)
        except OSError:
          data = b""
        if not data:
          if self.speaks:
            self.stop(self.spec["grace"])
          return
        self.heard, self.speaks = time.monotonic(), True
        self.lines += data
        *lines, self.lines = self.lines.split(b"\n")
        for line in lines:
          if line.startswith(b"stop"):
            seconds = float(line.split()[1])
            self.stop(seconds)
            self.report(stopping=seconds)
      elif self.speaks and time.monotonic() - self.heard > self.spec.get("silence", SILENCE):
        self.stop(self.spec["grace"])
        return

  def report(self, **fields) -> None:
    """Sends an event; a lost connection stops the command."""
    try:
      self.event(**fields)
    except OSError:
      self.stop(self.spec["grace"])

  def beat(self) -> None:
    """Sends signs of life, and keeps the folder of this run."""
    while True:
      time.sleep(BEAT)
      with contextlib.suppress(OSError):
        os.utime(self.state)
      self.report(alive=True)

  def copy(self) -> None:
    """Passes on the command's output, to its end; that of children not much longer."""
    pipe = self.child.stdout.fileno()
    left, until = 1, float("inf")  # bytes of the command itself, and how long children are heard
    while left > 0 or time.monotonic() < until:
      if until == float("inf") and self.over.is_set():
        left = int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)
        until = time.monotonic() + DRAIN
      if not select.select([pipe], [], [], 0.1)[0]:
        continue
      data = os.read(pipe, 65536)
      if not data:
        return
      try:
        write(data)
      except OSError:
        self.stop(self.spec["grace"])
      if until != float("inf"):
        left -= len(data)

  def work(self) -> None:
    """Runs the command to its end."""
    if not self.start():
      return
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
      signal.signal(number, lambda *_: self.stop(self.spec["grace"]))
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    copying = threading.Thread(target=self.copy, daemon=True)
    for thread in (
      copying,
      threading.Thread(target=self.listen, daemon=True),
      threading.Thread(target=self.beat, daemon=True),
    ):
      thread.start()
    status = self.child.wait()
    self.over.set()
    copying.join(READ)
    stopped = self.stopping is not None
    self.report(ended=status)
    if status or stopped:  # what it started must not go on without it
      end_processes(self.spec["id"], self.child.pid, CLEAN, lambda: self.stopping, os.getpid())


def run(spec: dict[str, Any]) -> None:
  """Runs the command of the specification."""
  with contextlib.suppress(OSError, AttributeError):
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # orphans of the command become children of the agent
  Run(spec).work()
  # Not with the command's status: gcloud runs a command that ends with 255 again. And at once:
  # threads may wait for a connection that is gone.
  os._exit(0)


def stop(spec: dict[str, Any]) -> None:
  """Stops the command of another connection, also one that is only about to start."""
  state = os.path.join(os.getcwd(), STATE, spec["id"].replace("/", "-"))
  os.makedirs(state, exist_ok=True)
  with open(os.path.join(state, "cancelled"), "w"):
    pass
  session = agent = 0
  try:
    with open(os.path.join(state, "session")) as file:
      pid, ticks, agent_pid, agent_ticks = map(int, file.read().split())
    session = pid if started_at(pid) in (ticks, None) else 0
    agent = agent_pid if started_at(agent_pid) == agent_ticks else 0
  except (OSError, ValueError):
    pass  # it has not come so far, or the machine knows no /proc
  Event(spec["token"])(stopped=end_processes(spec["id"], session, spec["grace"], agent=agent))


if __name__ == "__main__":
  if sys.argv[1] == "run":
    run(json.loads(sys.argv[2]))
  elif sys.argv[1] == "stop":
    stop(json.loads(sys.argv[2]))
  elif sys.argv[1] == "holders":
    sys.stdout.write(json.dumps(holders()))
