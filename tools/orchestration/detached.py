"""Detached runs: the runner in a tmux session of this machine, and commands to it."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from orchestration import run_record
from orchestration.console import say
from orchestration.fleet import stop_command
from orchestration.tpu_workers import Place, Worker

_STOP_SECONDS = 120.0  # for the runner to stop its workers
_START_SECONDS = 30.0
_POLL = 0.2  # seconds
_SHOWN = 200  # lines of the past that `attach` shows


def _server(run_name: str) -> list[str]:
  """The tmux of a run: a server of its own, with the environment that the run was started in."""
  return ["tmux", "-L", f"multihost-{hashlib.sha256(run_name.encode()).hexdigest()[:12]}"]


def session_name(run_name: str) -> str:
  """Name of the run's tmux session; tmux has other uses for some characters."""
  return "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in run_name)


def _session_is_there(run_name: str) -> bool:
  asked = subprocess.run([*_server(run_name), "has-session"], capture_output=True, check=False)
  return asked.returncode == 0


def start(script: Path, arguments: list[str], run_name: str, folder: Path) -> None:
  """Starts the runner in a tmux session; returns when it has begun.

  Raises:
    OSError: there is no tmux, or the runner has not begun.
  """
  if shutil.which("tmux") is None:
    raise OSError("--detach needs tmux on this machine: sudo apt install tmux")
  if _session_is_there(run_name):
    raise OSError(f"{run_name} is running: `attach` or `stop` it, or give another name")
  console = folder / run_record.CONSOLE
  folder.mkdir(parents=True, exist_ok=True)
  console.write_bytes(b"")
  run_record.write(folder, pid=0, began=time.time(), run_name=run_name, state="starting")
  command = shlex.join([sys.executable, "-u", str(script), *arguments])
  line = f"{command} 2>&1 | tee -a {shlex.quote(str(console))}"
  begun = subprocess.run(
    [
      *_server(run_name),
      *("new-session", "-d", "-s", session_name(run_name), "-x", "200", "-y", "50"),
      f"bash -c {shlex.quote(line)}",
    ],
    capture_output=True,
    text=True,
    check=False,
  )
  if begun.returncode:
    raise OSError(f"tmux could not begin a session: {begun.stderr.strip()}")
  deadline = time.monotonic() + _START_SECONDS
  while run_record.read(folder).get("state") == "starting":
    if not _session_is_there(run_name) or time.monotonic() > deadline:
      said = console.read_text(errors="replace").strip().splitlines()
      raise OSError(f"the runner did not begin: {said[-1] if said else 'it said nothing'}")
    time.sleep(_POLL)
  say(f"{run_name} runs in tmux; logs in {folder}")
  for verb, what in (
    ("attach", "its output (Ctrl-b d leaves it)"),
    ("status", "how it is"),
    ("logs", "what the workers say"),
    ("stop", "end it on all workers"),
  ):
    say(f"  python3 {sys.argv[0]} {verb} {run_name}    # {what}")


def attach(record: dict[str, Any], folder: Path) -> int:
  """Shows a run's output to its end; returns its exit status, or 0 when it was left running."""
  name = record["run_name"]
  terminal = sys.stdout.isatty() and sys.stdin.isatty()
  if terminal and run_record.is_running(record) and _session_is_there(name):
    environment = {key: value for key, value in os.environ.items() if key != "TMUX"}
    target = ["attach-session", "-t", session_name(name)]
    subprocess.run([*_server(name), *target], env=environment, check=False)
    if run_record.is_running(run_record.read(folder)):
      say(f"{name} goes on")
      return 0
  follow(folder / run_record.CONSOLE, folder, _SHOWN)
  return report(run_record.read(folder))


def follow(path: Path, folder: Path, lines: int = 0) -> None:
  """Prints a file, or its last lines, and what is added to it as long as the run goes on."""
  with path.open("rb") as file:
    if lines:
      sys.stdout.buffer.write(b"".join(file.readlines()[-lines:]))
    while True:
      alive = run_record.is_running(run_record.read(folder))
      if data := file.read():
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
      elif not alive:
        return
      time.sleep(_POLL)


def report(record: dict[str, Any]) -> int:
  """Prints how a run is; returns its exit status, 0 as long as it runs."""
  name, began = record["run_name"], time.strftime("%F %T", time.localtime(record["began"]))
  if run_record.is_running(record):
    attempt = f", attempt {record['attempt']}" if record.get("attempt", 1) > 1 else ""
    print(f"{name}: running since {began}{attempt}")
    return 0
  if record.get("state") == "ended":
    print(f"{name}: {record['text']} (exit status {record['status']}), began {began}")
    return int(record["status"])
  print(f"{name}: its runner is gone without a word, began {began}; `stop` ends what it left")
  return 1


def stop(record: dict[str, Any], folder: Path, grace: float) -> int:
  """Ends a run on all its workers, also one whose runner is gone; returns an exit status."""
  name = record["run_name"]
  if run_record.is_running(record):
    os.kill(record["pid"], signal.SIGTERM)
    say(f"stopping {name}")
    deadline = time.monotonic() + grace + _STOP_SECONDS
    while run_record.is_running(record):
      if time.monotonic() > deadline:
        say(f"{name} has not ended in {grace + _STOP_SECONDS:g} s; `status` tells when it has")
        return 1
      time.sleep(_POLL)
    record = run_record.read(folder)
    unconfirmed = record.get("unconfirmed") or []
    if unconfirmed:
      say(f"not certain on {', '.join(unconfirmed)}: processes may go on there")
    print(f"{name}: stopped")
    return 1 if unconfirmed else 0
  if record.get("state") == "ended" and not record.get("unconfirmed"):
    print(f"{name}: has ended already")
    return 0
  place = Place(record["project"], record["zone"], record["internal_ip"])
  left = []
  for slice_name, slice_number, number in record.get("workers", []):
    worker = Worker(place, slice_name, slice_number, number, record.get("alone", True))
    for suffix in ("", "-setup"):
      if not stop_command(worker, f"{record['id']}{suffix}/{slice_number}.{number}", grace):
        left.append(worker.name)
        break
  if left:
    say(f"{name}: could not be stopped on {', '.join(left)}")
    return 1
  run_record.write(folder, state="ended", status=143, text="stopped", unconfirmed=[])
  print(f"{name}: stopped")
  return 0
