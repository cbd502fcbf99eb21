"""Calls of `gcloud` that answer at once: with a time limit, and again after a passing failure."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time

from orchestration.console import say

TIMEOUT = 120.0  # seconds for one call
ATTEMPTS = 5
# Failures that another attempt does not change; all others (network, quota of requests, a server's
# error) may pass.
_PERMANENT = re.compile(
  r"PERMISSION_DENIED|NOT_FOUND|was not found|ALREADY_EXISTS|already exists|INVALID_ARGUMENT"
  r"|UNAUTHENTICATED|could not be found|gcloud auth login|unrecognized arguments|Invalid value"
  r"|Invalid choice|must be specified|not have permission|FAILED_PRECONDITION",
  re.IGNORECASE,
)


class GcloudError(Exception):
  """A call that failed for good; its text is what gcloud said last."""

  def __init__(self, command: list[str], status: int, text: str) -> None:
    self.status = status
    self.text = text.strip()
    said = next((line for line in reversed(self.text.splitlines()) if line.strip()), "no message")
    super().__init__(f"`{' '.join(command[:6])} ...` failed with status {status}: {said.strip()}")

  @property
  def not_found(self) -> bool:
    """Whether what was asked for does not exist."""
    return bool(re.search(r"NOT_FOUND|was not found|could not be found", self.text, re.IGNORECASE))


def environment() -> dict[str, str]:
  """The environment for gcloud: it must not ask questions where nobody can answer."""
  return {**os.environ, "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}


def pause(attempt: int) -> float:
  """Seconds to wait after the failed attempt of this number, from 0: 1, 2, 4, ... up to 30.

  MULTIHOST_BACKOFF gives the first of them.
  """
  return min(30.0, float(os.environ.get("MULTIHOST_BACKOFF", "1")) * 2**attempt)


def call(*arguments: str, timeout: float = TIMEOUT, attempts: int = ATTEMPTS) -> str:
  """Runs `gcloud ARGUMENTS`; returns its standard output.

  Raises:
    GcloudError: it failed for good, or at every attempt.
  """
  command = ["gcloud", *arguments]
  if shutil.which("gcloud") is None:
    raise GcloudError(command, 127, "gcloud is not on PATH: install the Google Cloud CLI")
  for attempt in range(attempts):
    try:
      done = subprocess.run(
        command,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
      )
      status, text = done.returncode, done.stderr
    except subprocess.TimeoutExpired:
      status, text = 124, f"no answer within {timeout:g} s"
    if status == 0:
      return done.stdout
    error = GcloudError(command, status, text)
    if _PERMANENT.search(text) or attempt == attempts - 1:
      raise error
    say(f"{error}; again in {pause(attempt):g} s")
    time.sleep(pause(attempt))
  raise AssertionError("unreachable")


def setting(name: str) -> str:
  """The value of the gcloud configuration, such as `compute/zone`; empty when there is none."""
  lines = call("config", "get", name).strip().splitlines()
  value = lines[-1].strip() if lines else ""
  return "" if value == "(unset)" else value
