"""Machine of a job: its metadata, its clock, and the end of its log."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

METADATA = "http://metadata.google.internal/computeMetadata/v1/instance/attributes/tpu-env"
METADATA_TIMEOUT = 600.0  # seconds for the metadata to come
LAST_LINES = 20
READ_BACK = 64 * 1024  # bytes of the end of the log in which they are looked for


class Problem(Exception):
  """Reason why the command could not be started."""


def read_metadata() -> dict[str, str]:
  """Returns what the metadata server says of this machine of the slice."""
  end = time.monotonic() + METADATA_TIMEOUT
  while True:
    done = subprocess.run(
      ["curl", "-sf", METADATA, "-H", "Metadata-Flavor: Google"],
      stdin=subprocess.DEVNULL,
      stdout=subprocess.PIPE,
      check=False,
    )
    found = dict(re.findall(r"^(\w+):\s*'?([^'\n]*)", done.stdout.decode(), re.MULTILINE))
    if "WORKER_ID" in found:
      return found
    if time.monotonic() > end:
      raise Problem(f"no WORKER_ID in {METADATA}")
    time.sleep(2.0)


def last_lines(log: Path) -> list[str]:
  """Returns the last lines of a log."""
  if not log.exists():
    return []
  with open(log, "rb") as file:
    file.seek(max(0, file.seek(0, os.SEEK_END) - READ_BACK))
    text = file.read().decode(errors="replace")
  return re.split(r"[\r\n]+", text.rstrip())[-LAST_LINES:]


def clock(seconds: float | None = None) -> str:
  """Returns a time of day in UTC, now if none is given."""
  return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
