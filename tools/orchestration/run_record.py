"""Record of a run: run.json in its log folder, for `status`, `logs`, `attach` and `stop`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

_FILE = "run.json"
CONSOLE = "console.txt"


def log_folder(run_name: str, folder: str = "") -> Path:
  """Folder of a run's logs: where MaxText's runner has them, unless another is given."""
  return Path(folder) if folder else Path(tempfile.gettempdir()) / run_name


def check_run_name(name: str) -> str:
  """Returns the name, which becomes a folder here and on the workers.

  Raises:
    ValueError: it cannot.
  """
  if not re.fullmatch(r"[A-Za-z0-9_.~][A-Za-z0-9_./-]*", name) or ".." in name.split("/"):
    raise ValueError(
      f"--RUN_NAME={name}: expected letters, digits, `_`, `-`, `.` and `/`, no `..`, not `-` first"
    )
  return name


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
  except FileNotFoundError:
    return {}


def all_runs() -> list[dict[str, Any]]:
  """Records of the runs whose logs are where they are by default, the latest last."""
  files = Path(tempfile.gettempdir()).glob(f"*/{_FILE}")
  records = [read(file.parent) for file in files]
  return sorted((each for each in records if "began" in each), key=lambda each: each["began"])


def process_start(pid: int) -> str:
  """What tells a process from a later one of the same number; empty: there is none."""
  if not Path("/proc").is_dir():
    done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, check=False)
    return done.stdout.decode().strip()
  try:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
  except (OSError, IndexError):
    return ""


def is_running(record: dict[str, Any]) -> bool:
  """Whether the runner of this record is alive."""
  return bool(record.get("pid")) and process_start(record["pid"]) == record.get("pid_start", "-")
