"""Watch over a job from the machine that submitted it: how it goes, its log, its end."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from orchestration import job_state
from orchestration.bucket import BucketFolder
from orchestration.console import say
from orchestration.gcloud import GcloudError
from orchestration.job_script import request_slices
from orchestration.job_state import FAILED, FINISHED, Job
from orchestration.queued_resource import QueuedResource, SliceLost
from orchestration.tpu_states import ENDED, QueuedResourceError

LAST_WORD = 60.0  # seconds for the workers to write their last status


class JobError(Exception):
  """A job that is not what was asked for."""


def latest_job(folder: BucketFolder) -> Job | None:
  """Returns the latest submission of a run; None: there is none.

  Raises:
    JobError: another version of this program submitted it.
  """
  text = folder.read(job_state.JOB_FILE)
  try:
    return Job.from_json(text) if text else None
  except TypeError as error:
    raise JobError(
      f"{folder.url}/{job_state.JOB_FILE} is of another version of multihost_job.py: {error}"
    ) from error


class JobWatch:
  """Submission of a job, watched from the machine that submitted it.

  Args:
    poll_seconds: between two polls.
    last_word: seconds for the workers to write their last status.
  """

  def __init__(self, job: Job, poll_seconds: float = 15.0, last_word: float = LAST_WORD) -> None:
    self.job = job
    self.folder = BucketFolder(job.folder)
    self.resource = QueuedResource(job.run_name, job.project, job.zone, poll_seconds)
    self.poll_seconds = poll_seconds
    self.last_word = last_word
    self.shown = 0  # bytes of the log of the first worker

  def progress(self) -> job_state.Progress:
    """Returns how far the job has come."""
    return job_state.progress(self.job, self.folder.names(self.job.marks))

  def statuses(self) -> list[dict[str, Any]]:
    """Returns the statuses of the workers, of those that have written one."""
    texts = [self.folder.read(job_state.status_name(*who)) for who in self.job.everybody()]
    found = [json.loads(text) for text in texts if text]
    return [status for status in found if status["id"] == self.job.id]

  def attach(self, queue_timeout: float, boot_timeout: float, cancel: bool) -> int:
    """Shows the log of the first worker until the job is over; returns its exit status.

    A slice that was preempted is deleted and requested anew, as often as the job allows.

    Args:
      queue_timeout: seconds that the request may be in the queue.
      boot_timeout: seconds that the machines may take to start.
      cancel: withdraw the request when one of them has passed.
    """
    preempted = 0
    begun = bool(self.statuses())  # then its slices are there, whatever their state says
    while True:
      try:
        if not begun and not self.progress().over:
          self.resource.wait(queue_timeout, boot_timeout, cancel)
        over = self._until_over()
        return self.report(over)
      except QueuedResourceError as error:
        over = self.progress().over  # the slices may be gone because the job is over
        if over:
          return self.report(over)
        preempted += 1
        if not isinstance(error, SliceLost) or preempted > self.job.preemptions:
          raise
        say(f"{error}; requesting it anew ({preempted} of at most {self.job.preemptions})")
      self.resource.delete()
      request_slices(self.job, self.resource)
      begun = False

  def _until_over(self) -> str:
    """Shows how it goes until the job is over; returns how it ended."""
    while True:
      try:
        over = self.progress().over
        self._show_log()
        if over:
          return over
        self.resource.check()
      except GcloudError as error:
        if error.permanent:
          raise
        say(f"{error}; looking again later, the job goes on")
      time.sleep(self.poll_seconds)

  def skip_log(self) -> None:
    """Leaves out what is in the log now, which an earlier submission of the run wrote."""
    self.shown = len(self.folder.tail(job_state.log_name(0, 0), 0))

  def _show_log(self) -> None:
    data = self.folder.tail(job_state.log_name(0, 0), self.shown)
    self.shown += len(data)
    sys.stdout.write(data.decode(errors="replace"))
    sys.stdout.flush()

  def report(self, over: str) -> int:
    """Says how a job ended; returns its exit status."""
    end = time.monotonic() + self.last_word
    while True:
      statuses = self.statuses()
      running = [status for status in statuses if status["state"] in ("starting", "running")]
      if not running or time.monotonic() > end:
        break
      time.sleep(min(1.0, self.poll_seconds))
    self._show_log()
    failed = [status for status in statuses if status["state"] in (FAILED, job_state.LOST)]
    failed.sort(key=lambda status: status.get("ended_at", status["updated_at"]))
    for status in failed:
      say(f"{describe(status)}; its last lines:")
      for line in status["last_lines"]:
        say(f"  {line}")
    logs = f"{self.job.folder}/{job_state.log_name(0, 0)}"
    say(f"{self.job.run_name}: {over}; logs: {logs} and beside it")
    after = self.job.delete_after
    say(
      f"its slices delete themselves after {after:g} s; `multihost_job.py stop` does it now"
      if after >= 0
      else "its slices stay, and cost: `multihost_job.py stop` deletes them"
    )
    if over == FINISHED:
      return 0
    return (failed[0].get("exit_status") if failed else 0) or 1

  def status(self) -> int:
    """Prints how it goes; returns the exit status of a job that is over, 0 before."""
    now = self.progress()
    state = self.resource.state()
    print(f"{self.job.run_name} {now.over or state}, attempt {now.attempt}; its slices: {state}")
    statuses = self.statuses()
    for status in statuses:
      print(describe(status))
    if not now.over:
      return int(state in ENDED)
    if now.over == FINISHED:
      return 0
    failed = [status["exit_status"] for status in statuses if status["state"] == FAILED]
    return (failed or [1])[0]

  def log(self, group: int, worker: int) -> int:
    """Prints the log of a worker; returns the exit status."""
    name = job_state.log_name(group, worker)
    data = self.folder.tail(name, 0)
    if not data:
      raise JobError(f"there is no log {self.folder.url}/{name} yet: see `status`")
    sys.stdout.buffer.write(data)
    return 0

  def stop(self, wait_seconds: float = 60.0) -> int:
    """Ends the command on all workers, and deletes the slices; returns the exit status."""
    if not self.progress().over:
      self.folder.write(f"{self.job.marks}/{job_state.STOP}", "")
    end = time.monotonic() + wait_seconds
    while time.monotonic() < end and self.resource.state() == "ACTIVE":
      states = [status["state"] for status in self.statuses()]
      if len(states) == len(self.job.everybody()) and not {"starting", "running"} & set(states):
        break
      time.sleep(min(1.0, self.poll_seconds))
    self.resource.delete()
    say(f"{self.job.run_name}: stopped, its slices are deleted")
    return 0


def describe(status: dict[str, Any]) -> str:
  """Returns a line about the status of a worker."""
  text = f"slice {status['slice']} worker {status['worker']}: {status['state']}"
  if "exit_status" in status and status["state"] not in ("starting", "running"):
    text += f" with exit status {status['exit_status']}"
    if status["signal"]:
      text += f" (signal {status['signal']})"
  if status.get("problem"):
    text += f", {status['problem']}"
  return f"{text}, {status['updated']}"
