"""Calls of `gcloud` that answer at once: with a time limit, and again after a passing failure."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time

from orchestration.console import say

TIMEOUT = 120.0  # seconds for one call
ATTEMPTS = 5
_NOT_FOUND = r"NOT_FOUND|was not found|could not be found|HTTPError 404|matched no objects"
_ALREADY_EXISTS = r"ALREADY_EXISTS|already exists"
# Failures that another attempt does not change; all others (network, a server's error) may pass.
_PERMANENT = re.compile(
  rf"{_NOT_FOUND}|{_ALREADY_EXISTS}|PERMISSION_DENIED|INVALID_ARGUMENT|FAILED_PRECONDITION"
  r"|UNAUTHENTICATED|gcloud auth login|unrecognized arguments|Invalid value|Invalid choice"
  r"|must be specified|not have permission|HTTPError 40[013]|not found: 404|argument --[a-z-]+:"
  r"|RESOURCE_EXHAUSTED|quota",
  re.IGNORECASE,
)
# Passing, although they may carry a word of the above: quotas of requests, and a network that was
# down when gcloud asked for its token.
_PASSING = re.compile(
  r"per minute|per second|rate limit|HTTPError (429|5\d\d)|UNAVAILABLE|DEADLINE_EXCEEDED"
  r"|Max retries exceeded|Temporary failure in name resolution|Connection (reset|refused|aborted)",
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
    """Tells whether what was asked for does not exist."""
    return bool(re.search(_NOT_FOUND, self.text, re.IGNORECASE))

  @property
  def already_exists(self) -> bool:
    """Tells whether what was to be created exists."""
    return bool(re.search(_ALREADY_EXISTS, self.text, re.IGNORECASE))

  @property
  def permanent(self) -> bool:
    """Tells whether no attempt can succeed; a call with any other error may have had effect."""
    missing = self.status == 127
    return missing or bool(_PERMANENT.search(self.text) and not _PASSING.search(self.text))


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
  return call_bytes(*arguments, timeout=timeout, attempts=attempts).decode(errors="replace")


def call_bytes(*arguments: str, timeout: float = TIMEOUT, attempts: int = ATTEMPTS) -> bytes:
  """Does the same as `call` for output that may be cut inside a character."""
  command = ["gcloud", *arguments]
  if shutil.which("gcloud") is None:
    raise GcloudError(command, 127, "gcloud is not on PATH: install the Google Cloud CLI")
  for attempt in range(attempts):
    status, output, text = _attempt(command, timeout)
    if status == 0:
      return output
    error = GcloudError(command, status, text.decode(errors="replace"))
    if error.permanent or attempt == attempts - 1:
      raise error
    say(f"{error}; again in {pause(attempt):g} s")
    time.sleep(pause(attempt))
  raise AssertionError("unreachable")


def _attempt(command: list[str], timeout: float) -> tuple[int, bytes, bytes]:
  """Runs a command; returns its status, standard output and standard error."""
  process = subprocess.Popen(
    command,
    env=environment(),
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    start_new_session=True,  # gcloud is a shell script: what it started must end with it
  )
  try:
    output, text = process.communicate(timeout=timeout)
    return process.returncode, output, text
  except subprocess.TimeoutExpired:
    return 124, b"", f"no answer within {timeout:g} s".encode()
  finally:
    if process.poll() is None:
      os.killpg(process.pid, signal.SIGKILL)
      process.communicate()


def setting(name: str) -> str:
  """The value of the gcloud configuration, such as `compute/zone`; empty when there is none."""
  lines = call("config", "get", name).strip().splitlines()
  value = lines[-1].strip() if lines else ""
  return "" if value == "(unset)" else value
