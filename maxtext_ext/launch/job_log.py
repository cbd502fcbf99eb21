"""Log of a Hugging Face job, followed to its end: each line once, also when streams break.

A stream of events begins with the first line of the log, whenever it is opened, and may end or
break anywhere. So lines already seen are skipped by their number, and compared with the earlier
ones by text and time, since equal lines may follow each other. The log is complete when two
streams in a row that were opened after the job's end bring nothing new, or one that stays open;
twice as many where it is empty.

huggingface_hub's own `fetch_job_logs(follow=True)` was considered: it ends at an answer 5xx, and at
a stream that breaks while the job ends.
"""

import array
import json
import time
from collections.abc import Callable, Iterable, Iterator

import httpx2
from huggingface_hub import HfApi, JobInfo, JobStage
from huggingface_hub.errors import HTTPError
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from maxtext_ext.launch.hub import Pace, insist, is_lasting, status_of
from maxtext_ext.progress import say

# Stages that do not change any more.
_ENDED = (JobStage.COMPLETED, JobStage.ERROR, JobStage.CANCELED, JobStage.DELETED)
_FIELD, _COMMENT = "data:", ":"
_CERTAIN = 2
_REREADS = 8  # of a log that does not come to its end after the job has


class _CutError(Exception):
  """A stream that ends within a line."""


class JobLog:
  """Log of a job, with the lines seen so far."""

  def __init__(self, api: HfApi, job: JobInfo, write: Callable[[str], None], pace: Pace) -> None:
    """Begins before the first line; `write` gets each line without its line break."""
    self._api, self._job, self._write, self._pace = api, job, write, pace
    self._seen = array.array("q")  # a hash of each line

  def follow(self) -> JobInfo:
    """Writes the log until the job has ended; returns the job as it is then.

    Raises:
      OSError: the hub does not answer for long, or refuses the request.
    """
    idle = certain = 0
    while True:
      job = self._inspect()
      over = _has_ended(job)
      before = len(self._seen)
      evidence = self._read(over=over)
      if len(self._seen) > before:
        idle = certain = 0
      else:
        certain = certain + evidence if over and evidence else 0
        if certain >= (_CERTAIN if self._seen else 2 * _CERTAIN):  # an empty log may be late
          return job
        if over and idle >= _REREADS:
          say(f"the log could not be read again to its end; {before} lines of it are above")
          return job
      self._pace.wait(idle)
      idle += 1

  def _inspect(self) -> JobInfo:
    def inspect() -> JobInfo:
      return self._api.inspect_job(job_id=self._job.id, namespace=self._job.owner.name)

    return insist(inspect, f"job {self._job.id}", self._pace)

  def _read(self, *, over: bool) -> int:
    """Reads one stream; returns how certain its end is that of the log, up to _CERTAIN.

    Args:
      over: whether the job ended before the stream was opened.
    """
    job, position, evidence = self._job, 0, 1
    heard = time.monotonic()
    try:
      with get_session().stream(
        "GET",
        f"{self._api.endpoint}/api/jobs/{job.owner.name}/{job.id}/logs",
        headers=build_hf_headers(token=self._api.token),
        timeout=self._pace.silence,
      ) as response:
        hf_raise_for_status(response)
        for line in _lines(response.iter_bytes()):
          if line.startswith(_FIELD):
            position += self._take(position, _event(line.removeprefix(_FIELD).strip()))
            heard = time.monotonic()
          elif not line.startswith(_COMMENT) or time.monotonic() - heard < self._pace.quiet:
            continue  # a comment may also come before a line, or between two
          elif over or _has_ended(self._inspect()):
            evidence = _CERTAIN  # the hub leaves the log of some failed jobs open
            break
    except httpx2.ReadTimeout:  # likewise, without comments
      evidence = _CERTAIN
    except _CutError:
      return 0
    except HTTPError as error:
      if status_of(error) == 404:  # there is no log yet
        return 0 if self._seen else 1
      if is_lasting(error):
        raise
      return 0
    return evidence if position >= len(self._seen) else 0

  def _take(self, position: int, event: tuple[str, str]) -> int:
    """Writes the line at a position, if it is new; returns 1."""
    mark = hash(event)
    if position < len(self._seen):
      if self._seen[position] == mark:
        return 1
      say(f"the log is another one from line {position + 1} on; lines may come twice")
      del self._seen[position:]
    self._seen.append(mark)
    self._write(event[0].removesuffix("\n"))
    return 1


def _has_ended(job: JobInfo) -> bool:
  return job.status.stage in _ENDED or job.finished_at is not None


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
  """Yields the lines of a stream, which may hold any other separators of Unicode.

  Raises:
    _CutError: the stream ends within one.
  """
  rest = b""
  for piece in pieces:
    *lines, rest = (rest + piece).split(b"\n")
    for line in lines:
      yield line.decode(errors="replace").removesuffix("\r")
  if rest:
    raise _CutError


def _event(text: str) -> tuple[str, str]:
  """Parses text and time of a log event; anything else is returned unchanged."""
  try:
    event = json.loads(text)
    return str(event["data"]), str(event.get("timestamp"))
  except (ValueError, KeyError, TypeError):
    return text, ""
