"""Worker of a job: runs its command on one machine, and keeps log and exit status in the bucket.

The startup script of `job_script.py` brings this module and those it needs, and starts it at every
boot of the machine. It continues with the attempt that the marks in the bucket record.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from orchestration import agent, job_state
from orchestration.bucket import BucketFolder
from orchestration.console import say
from orchestration.gcloud import GcloudError, call
from orchestration.job_machine import Problem, clock, last_lines, read_metadata
from orchestration.job_state import DONE, FAILED, LOST, Job, Progress
from orchestration.task import PEER_LOST

DEVICE_TIMEOUT = 120.0  # seconds for the last tenant to leave the accelerator
GRACE = 3.0  # seconds for a command to end when another worker has failed
LAST_GRACE = 20.0  # seconds for a command to save its state when the machine is shut down
PATIENCE = 1000  # attempts to reach the bucket: some hours, for a job must not end without it


class Shutdown(BaseException):
  """The machine is being shut down; past all handlers of errors, to the end of the program."""


class JobWorker:
  """The part of one machine in a job.

  Args:
    job: of which it is a part.
    metadata: of the machine.
    folder: where code and log are.
  """

  def __init__(self, job: Job, metadata: dict[str, str], folder: Path) -> None:
    self.job = job
    self.folder = folder
    self.group = int(metadata.get("MEGASCALE_SLICE_ID", "0"))
    self.worker = int(metadata["WORKER_ID"])
    self.name = f"slice {self.group} worker {self.worker}"
    self.bucket = BucketFolder(job.folder, attempts=PATIENCE)
    self.glance = BucketFolder(job.folder, attempts=1, timeout=30.0)
    self.log = folder / job_state.log_name(self.group, self.worker)
    self.mark = f"{job.id}-{self.group}-{self.worker}"
    self.environment = {
      "SLICE_ID": str(self.group),
      "WORKER_ID": str(self.worker),
      "MULTIHOST_SLICE": str(self.group),
      "MULTIHOST_WORKER": str(self.worker),
      "NODE_ID": metadata.get("NODE_ID", ""),
      "PROJECT": job.project,
      "ZONE": job.zone,
      "PYTHONUNBUFFERED": "1",
      agent.MARK: self.mark,
    }
    self.status = self._who()
    self.publishing = threading.Lock()
    self.uploaded = -1  # size of the log in the bucket

  def _who(self) -> dict[str, Any]:
    return {"id": self.job.id, "slice": self.group, "worker": self.worker}

  def work(self) -> str:
    """Runs the command until the job is over; returns how it ended."""
    try:
      over = self._work().over
      self.note(f"the job is over: {over}")
      self.publish("", self.bucket)
      return over
    except GcloudError as error:
      say(f"{self.name} cannot use {self.job.folder}, and ends: {error}")
      return FAILED
    except Shutdown:
      self.note("the machine is shut down; its next start goes on")
      self.publish("interrupted", self.glance)
      raise

  def _work(self) -> Progress:
    agent.end_processes(self.mark, 0, GRACE)  # of a worker that was killed
    now = self.look(self.bucket)
    if now.over:
      return now  # it was over before this boot
    if not self.log.exists():
      self.bucket.download(self.log.name, self.log)  # of a machine before this one
    self.publish("starting", self.bucket)
    threading.Thread(target=self._publish_regularly, daemon=True).start()
    prepared = False
    while True:
      now = self.look(self.bucket)
      if now.over:
        return now
      if (self.group, self.worker) in now.done:
        self._wait_for_others(now)
        continue
      try:
        if not prepared:
          self._prepare()
          prepared = True
        how = self._attempt(now.attempt)
      except (Problem, OSError, GcloudError) as error:
        self.note(f"{error}")
        self.status.update(exit_status=1, signal=0, problem=str(error))
        how = FAILED
      if how:
        self._set_mark(now.attempt, how)
      self.publish(how or "stopped", self.bucket)
      if how == LOST:
        time.sleep(2 * self.job.poll_seconds)  # the mark of the failure behind it may be on its way

  def look(self, bucket: BucketFolder) -> Progress:
    """Returns the progress of the job."""
    return job_state.progress(self.job, bucket.names(self.job.marks))

  def note(self, text: str) -> None:
    """Writes a line into the log."""
    say(f"{self.name}: {text}")
    with open(self.log, "a", encoding="utf-8") as log:
      log.write(f"multihost_job: {text}\n")

  def _prepare(self) -> None:
    """Brings the code, and the virtual environment if there is to be one."""
    archive = self.folder / self.job.archive
    if not self.bucket.download(self.job.archive, archive):
      raise Problem(f"there is no {self.job.archive} in {self.job.folder}")
    unpacked = subprocess.run(
      ["tar", "-xzf", str(archive), "-C", str(self.folder)],
      stdin=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      check=False,
    )
    if unpacked.returncode:
      said = " ".join(unpacked.stderr.decode(errors="replace").split())
      raise Problem(f"the code cannot be unpacked: {said}")
    venv = self.folder / "venv"
    if self.job.venv and not (venv / "bin" / "activate").exists():
      for module in ("virtualenv", "venv"):
        if subprocess.run([sys.executable, "-m", module, str(venv)], check=False).returncode == 0:
          break
      else:
        self.note("no virtual environment could be made; going on without")
    if (venv / "bin" / "activate").exists():
      path = os.environ.get("PATH", os.defpath)
      self.environment.update(VIRTUAL_ENV=str(venv), PATH=f"{venv / 'bin'}:{path}")

  def _attempt(self, attempt: int) -> str:
    """Runs the command; returns how it ended, or nothing if it was stopped for the others' sake."""
    busy = agent.wait_for_devices(DEVICE_TIMEOUT)
    if busy:
      raise Problem(f"the accelerator is still in use after {DEVICE_TIMEOUT:g} s: {busy[0]}")
    agent.remove_stale_lock()
    self.note(f"{self.name} starts the command, attempt {attempt}, at {clock()}")
    with open(self.log, "ab") as log:
      command = subprocess.Popen(
        ["bash", "-c", self.job.command],
        cwd=self.folder,
        env={**os.environ, **self.environment},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
      )
    self.status = {**self._who(), "attempt": attempt, "started": clock()}
    self.publish("running", self.glance)
    stopped = False
    try:
      while True:
        try:
          status = command.wait(timeout=self.job.poll_seconds)
          break
        except subprocess.TimeoutExpired:
          if self._should_stop(attempt):
            stopped = True
            agent.end_processes(self.mark, command.pid, GRACE)
            status = command.wait()
            break
      if status in (-signal.SIGTERM, 128 + signal.SIGTERM) and not stopped:
        time.sleep(2.0)  # if this is the machine's shutdown, it is this program's turn now
    except Shutdown:
      agent.end_processes(self.mark, command.pid, LAST_GRACE)
      command.wait()
      raise
    agent.end_processes(self.mark, command.pid, GRACE)  # what the command left behind
    return self._ended(status, stopped)

  def _should_stop(self, attempt: int) -> bool:
    try:
      now = self.look(self.glance)
    except GcloudError as error:
      say(f"{self.name}: {error}")  # the bucket is out of reach; the next look will tell
      return False
    return bool(now.over) or now.attempt > attempt

  def _ended(self, status: int, stopped: bool) -> str:
    """Records the end of the command; returns what it means."""
    number = max(0, -status)
    code = 128 + number if number else status
    by = f" (signal {number})" if number else ""
    self.note(f"{self.name} ended the command at {clock()} with exit status {code}{by}")
    self.status.update(exit_status=code, signal=number, ended=clock(), ended_at=time.time())
    if stopped:
      return ""
    return {0: DONE, PEER_LOST: LOST}.get(code, FAILED)

  def _set_mark(self, attempt: int, how: str) -> None:
    name = job_state.mark_name(attempt, how, self.group, self.worker)
    self.bucket.write(f"{self.job.marks}/{name}", json.dumps(self.status))

  def _wait_for_others(self, now: Progress) -> None:
    """Waits a while; marks workers that stopped reporting as lost."""
    end = time.monotonic() + min(60.0, 15 * self.job.poll_seconds)
    while time.monotonic() < end:
      time.sleep(self.job.poll_seconds)
      later = self.look(self.bucket)
      if later.over or later.attempt > now.attempt:
        return
    for group, worker in set(self.job.everybody()) - now.done - {(self.group, self.worker)}:
      text = self.bucket.read(job_state.status_name(group, worker))
      heard = json.loads(text)["updated_at"] if text else 0.0
      last = max(heard, self.status.get("ended_at", 0.0))
      if time.time() - last > self.job.silence_seconds:
        name = job_state.mark_name(now.attempt, LOST, group, worker)
        self.note(f"nothing was heard of slice {group} worker {worker} since {clock(last)}")
        self.bucket.write(f"{self.job.marks}/{name}", json.dumps({"by": self.name}))

  def publish(self, state: str, bucket: BucketFolder) -> None:
    """Copies log and status into the bucket, in this order: a status of the end has its log.

    An empty state leaves the one that is there.
    """
    with self.publishing:
      if not state and "state" not in self.status:
        return  # the job was over before this boot
      state = state or self.status["state"]
      self.status.update(state=state, updated=clock(), updated_at=time.time())
      self.status["last_lines"] = last_lines(self.log)
      try:
        size = self.log.stat().st_size if self.log.exists() else -1
        if size != self.uploaded:
          copy = self.log.with_name(f"{self.log.name}.copy")
          shutil.copyfile(self.log, copy)  # a file that grows cannot be uploaded
          bucket.upload(copy, self.log.name)
          self.uploaded = size
        bucket.write(
          job_state.status_name(self.group, self.worker), json.dumps(dict(self.status), indent=1)
        )
      except GcloudError as error:
        if bucket is self.bucket:
          raise
        say(f"{self.name}: {error}")

  def _publish_regularly(self) -> None:
    while True:
      time.sleep(self.job.log_seconds)
      self.publish("", self.glance)

  def delete_slices(self) -> None:
    """Deletes the queued resource of the job, and this machine with it, after the time for it.

    The first worker does it; should it be gone, the second a little later, and so on.
    """
    job = self.job
    if job.delete_after < 0:
      return
    rank = self.group * job.workers + self.worker
    time.sleep(job.delete_after + rank * job.takeover_seconds)
    while True:
      try:
        call(
          *("alpha", "compute", "tpus", "queued-resources", "delete", job.run_name),
          *("--force", "--quiet", f"--project={job.project}", f"--zone={job.zone}"),
          timeout=600.0,
        )
        return
      except GcloudError as error:
        if error.not_found:
          return
        self.note(f"{self.name} cannot delete the slices, which cost until somebody does: {error}")
        self.publish("", self.glance)
      time.sleep(job.takeover_seconds)


def main(job: Job) -> int:
  """Does the part of this machine; returns the exit status."""
  folder = Path.cwd()
  lock = open(folder / "multihost_job.lock", "w")  # noqa: SIM115 (held to the end of the program)
  try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    say(f"{job.run_name} is running on this machine already")
    return 0

  def shut_down(*_: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Shutdown

  signal.signal(signal.SIGTERM, shut_down)
  worker = JobWorker(job, read_metadata(), folder)
  try:
    over = worker.work()
    worker.delete_slices()
  except Shutdown:
    return 128 + signal.SIGTERM
  return 0 if over == job_state.FINISHED else 1
