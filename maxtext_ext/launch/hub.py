"""Retries of Hugging Face Hub calls after failures of the hub or the network."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from huggingface_hub.errors import HTTPError

from maxtext_ext.errors import one_line
from maxtext_ext.progress import say

# Answers that another attempt may change.
_PASSING = (408, 425, 429)


@dataclass(frozen=True, kw_only=True)
class Pace:
  """Seconds between attempts.

  Attributes:
    first: before the second attempt; twice as long before each that follows.
    longest: between two of them.
    patience: from the first failure, until it is reported.
    silence: of a log, until it is opened again. The hub sends a comment every 30 s.
    quiet: without a line, before a comment counts as the log's end.
  """

  first: float = 0.5
  longest: float = 10.0
  patience: float = 900.0
  silence: float = 75.0
  quiet: float = 10.0

  def wait(self, attempt: int) -> None:
    """Sleeps after an attempt; `attempt` counts from 0."""
    time.sleep(min(self.longest, self.first * 2 ** min(attempt, 30)))


USUAL = Pace()


def status_of(error: HTTPError) -> int | None:
  """Returns the HTTP status of an error; None: there was no answer."""
  return getattr(getattr(error, "response", None), "status_code", None)


def is_lasting(error: HTTPError) -> bool:
  """Tells whether the same request would get the same answer."""
  status = status_of(error)
  return status is not None and 400 <= status < 500 and status not in _PASSING


def insist[T](call: Callable[[], T], what: str, pace: Pace) -> T:
  """Retries until there is an answer; raises errors that would not go away."""
  began, attempt = time.monotonic(), 0
  while True:
    try:
      return call()
    except (HTTPError, json.JSONDecodeError) as error:  # the latter: a proxy's page, say
      if isinstance(error, HTTPError) and is_lasting(error):
        raise
      if time.monotonic() - began > pace.patience:
        raise OSError(f"{what}: no answer for {pace.patience:g} s ({one_line(error)})") from error
      if attempt == 0:
        say(f"{what}: {one_line(error)}; trying again")
    pace.wait(attempt)
    attempt += 1
