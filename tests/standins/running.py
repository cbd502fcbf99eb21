"""The runner as a process, on workers of the stand-in."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from standins.cloud import VARIABLE, Cloud

ROOT = Path(__file__).resolve().parents[2]
RUNNER = ROOT / "tools/orchestration/multihost_runner.py"
PLACE = ("--PROJECT=p", "--ZONE=us-central2-b", "--INTERNAL_IP=true")


def environment(cloud: Cloud, **more: str) -> dict[str, str]:
  """The environment of a program that finds the stand-ins, with short waits."""
  return {
    **os.environ,
    VARIABLE: str(cloud.folder),
    "PATH": f"{ROOT / 'tests/standins'}{os.pathsep}{os.environ['PATH']}",
    "TMPDIR": str(cloud.folder / "tmp"),
    "MULTIHOST_BACKOFF": "0.1",
    "MULTIHOST_SETTLE": "0.5",
    "MULTIHOST_POLL": "0.1",
    "MULTIHOST_DEVICES": str(cloud.folder / "accel*"),
    "MULTIHOST_LOCK": str(cloud.folder / "libtpu_lockfile"),
    **more,
  }


def command(*arguments: str) -> list[str]:
  """A command line of the runner."""
  return [sys.executable, str(RUNNER), *arguments]


def run(cloud: Cloud, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
  """Runs the runner to its end."""
  (cloud.folder / "tmp").mkdir(exist_ok=True)
  return subprocess.run(
    command(*arguments),
    env=environment(cloud, **more),
    cwd=cloud.folder,
    capture_output=True,
    text=True,
    timeout=120,
    check=False,
  )


@contextlib.contextmanager
def started(
  cloud: Cloud,
  *arguments: str,
  stdout: Any = subprocess.PIPE,
  stderr: Any = subprocess.STDOUT,
  **more: str,
) -> Iterator[Any]:
  """A running runner; ended with what it started when the block is left."""
  (cloud.folder / "tmp").mkdir(exist_ok=True)
  process = subprocess.Popen(
    command(*arguments),
    env=environment(cloud, **more),
    cwd=cloud.folder,
    stdout=stdout,
    stderr=stderr,
    text=True,
  )
  try:
    yield process
  finally:
    if process.poll() is None:
      process.send_signal(signal.SIGKILL)
    process.communicate()


def plain(text: str) -> str:
  """A text on one line, as messages are compared."""
  return re.sub(r"\s+", " ", text)
