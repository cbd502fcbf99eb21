"""Record of a run: run.json in its log folder, for `status`, `logs`, `attach` and `stop`."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

_FILE = "run.json"
_LOCK = "run.lock"
CONSOLE = "console.txt"


def log_folder(run_name: str, folder: str = "") -> Path:
  """Folder of a run's logs: where MaxText's runner has them, unless another is given."""
  return Path(folder) if folder else Path(tempfile.gettempdir()) / run_name


def check_run_name(name: str) -> str:
  """Returns the name, which becomes a folder here and in the home folder of the workers.

  Raises:
    ValueError: it cannot.
  """
  found = re.fullmatch(r"(?:~/)?([A-Za-z0-9_.][A-Za-z0-9_./-]*)", name)
  if not found or {".", ".."} & set(found[1].split("/")):
    raise ValueError(
      f"--RUN_NAME={name}: expected letters, digits, `_`, `-`, `.` and `/`, no folder `.` or `..`,"
      " not `-` first"
    )
  return found[1]


def claim(folder: Path) -> bool:
  """Takes a run's folder for this program until it ends; returns whether nobody else has it.

  Raises:
    ValueError: it cannot be written.
  """
  try:
    folder.mkdir(parents=True, exist_ok=True)
    # Open as long as the program lives, and closed in what it starts.
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
  except OSError as error:
    raise ValueError(
      f"no logs can be written in {folder}: {error.strerror}; give another --LOG_DIR"
    ) from error
  try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError:
    os.close(lock)
    return False
  return True


def write(folder: Path, **fields: Any) -> None:
  """Adds fields to the record; a reader never sees half of it."""
  folder.mkdir(parents=True, exist_ok=True)
  record = {**read(folder), **fields}
  new = folder / f"{_FILE}.{os.getpid()}"
  new.write_text(json.dumps(record, indent=1))
  new.replace(folder / _FILE)


def read(folder: Path) -> dict[str, Any]:
  """Returns the record; empty: there is none."""
  try:
    return json.loads((folder / _FILE).read_text())
  except (FileNotFoundError, NotADirectoryError):
    return {}


def all_runs() -> list[dict[str, Any]]:
  """Records of the runs whose logs are where they are by default, the latest last."""
  folder = Path(tempfile.gettempdir())
  records = []
  for file in (each for depth in ("*", "*/*") for each in folder.glob(f"{depth}/{_FILE}")):
    with contextlib.suppress(OSError, ValueError):  # a file of others
      record = read(file.parent)
      if isinstance(record, dict) and {"run_name", "began", "state"} <= record.keys():
        records.append(record)
  return sorted(records, key=lambda each: each["began"])


def process_start(pid: int) -> str:
  """Returns the start time of a process, which tells it from later ones; empty: none lives."""
  if not Path("/proc").is_dir():
    done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, check=False)
    return done.stdout.decode().strip()
  try:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
  except (OSError, IndexError):
    return ""


def is_running(record: dict[str, Any]) -> bool:
  """Tells whether the runner of this record is alive."""
  return bool(record.get("pid")) and process_start(record["pid"]) == record.get("pid_start", "-")
