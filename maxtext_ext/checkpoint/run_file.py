"""File `run.json` of a run: its fingerprint, and the last known path of its base weights."""

import json
import os
from typing import Any

from maxtext_ext.files import storage
from maxtext_ext.version import __version__

RUN_FILE = "run.json"
BASE_PLACE = "base"  # its entry for where the base weights lay last


def read_run(run_dir: str) -> dict[str, Any]:
  """The content of a run's `run.json`; empty where there is none."""
  return read_json(os.path.join(run_dir, RUN_FILE))


def write_run(run_dir: str, **changes: Any) -> None:
  """Writes `run.json` with these entries changed, atomically; nothing if they are unchanged."""
  before = read_run(run_dir)
  content = {**before, **changes}
  if content != before:
    content["maxtext_ext"] = __version__
    data = json.dumps(content, indent=1, ensure_ascii=False).encode()
    storage.write_bytes(os.path.join(run_dir, RUN_FILE), data + b"\n")


def remembered_base(run_dir: str) -> str:
  """Returns the last known path of a run's base weights; empty where none is known."""
  return read_run(run_dir).get(BASE_PLACE, "")


def read_json(path: str) -> dict[str, Any]:
  """The JSON object of a file; empty where there is none, or an incomplete one."""
  try:
    content = json.loads(storage.read_bytes(path)) if storage.is_file(path) else {}
  except ValueError:
    return {}
  return content if isinstance(content, dict) else {}
