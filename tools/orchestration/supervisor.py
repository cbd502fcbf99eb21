"""Supervisor of a run: the whole slice again after a failure, a new slice after a preemption."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

from orchestration import run_record
from orchestration.code_copy import Archive, copy_to_all, pack, reach
from orchestration.console import say
from orchestration.fleet import Fleet, open_logs
from orchestration.gcloud import GcloudError
from orchestration.interrupts import Interrupts
from orchestration.queued_resource import SliceLost
from orchestration.slice_source import SliceSource
from orchestration.task import LOST, TIMED_OUT, Limits, Outcome, Task
from orchestration.tpu_workers import Place, Worker, find_workers

_DEVICE_WAIT = 300.0  # seconds for the last tenant of the accelerator to leave, at a restart
# Ends that may be those of a machine that was taken away, which its state says a little later.
_MAYBE_PREEMPTED = (LOST, 137, 143, 42)


def _settle() -> float:
  return float(os.environ.get("MULTIHOST_SETTLE", "30"))  # seconds


@dataclass(frozen=True)
class Plan:
  """Plan of a run.

  Attributes:
    prefix: name of the slice, or of several before their numbers.
    numbers: the workers of each slice that take part; empty: all.
    code: folder that is copied; None: the folder is there already.
    run_name: also name of the folder on the workers.
    command: for bash.
    setup: command for a machine that is new, run before the first attempt; empty: none.
    secrets: environment variables for the workers.
    scp_timeout: seconds for the code to arrive.
    restarts: failures that are followed by another attempt.
    preemptions: lost slices that are followed by another attempt.
  """

  place: Place
  prefix: str
  run_name: str
  command: str
  logs: Path
  numbers: tuple[int, ...] = ()
  code: Path | None = None
  setup: str = ""
  secrets: dict[str, str] | None = None
  scp_timeout: float = 600.0
  restarts: int = 0
  preemptions: int = 0


class Supervisor:
  """One run, with as many attempts as it may have.

  Args:
    source: makes slices anew; is asked only after a preemption.
  """

  def __init__(
    self, plan: Plan, limits: Limits, interrupts: Interrupts, source: SliceSource
  ) -> None:
    self._plan = plan
    self._limits = limits
    self._interrupts = interrupts
    self._source = source
    self._bare = True  # whether the workers have neither code nor setup of this run
    self._attempt = 0
    self._id = f"{plan.run_name}-{os.getpid()}-{int(time.time())}"

  def run(self) -> Outcome:
    """Runs the command until it succeeds, somebody wishes the end, or a budget is used up.

    Raises:
      GcloudError, OSError, ValueError: the first attempt could not begin.
    """
    plan = self._plan
    if plan.restarts or plan.preemptions:
      self._source.watch(find_workers(plan.place, plan.prefix))
      self._learn()
    failures = preemptions = 0
    while True:
      outcome = self._try()
      if outcome.status == 0 or outcome.wished or outcome.status == TIMED_OUT:
        return outcome
      if not plan.restarts and not plan.preemptions:
        return outcome
      if lost := self._lost_slices(outcome):
        say(f"{outcome.text}: {lost}")
        while lost:
          preemptions += 1
          say(f"preemption {preemptions}, of {plan.preemptions} allowed")
          if preemptions > plan.preemptions:
            self._source.give_up()
            return replace(outcome, text=f"{outcome.text}: {lost}; no more preemptions allowed")
          lost = self._recreate()
        self._bare = True
      else:
        failures += 1
        say(f"failure {failures}, of {plan.restarts} allowed: {outcome.text}")
        for line in outcome.tail:
          say(f"  | {line}")
        if failures > plan.restarts:
          return outcome
      say("starting all workers again; training goes on from its last checkpoint")

  def _recreate(self) -> str:
    """Makes the slices anew; says so if they were taken away before they could be used."""
    try:
      self._source.recreate()
    except SliceLost as error:
      say(str(error))
      return str(error)
    return ""

  def _learn(self) -> None:
    """Notes what the slices are; has to succeed only if they may be made anew."""
    try:
      self._source.learn()
      if self._plan.preemptions:
        self._source.check()
    except (GcloudError, ValueError) as error:
      if self._plan.preemptions:
        raise
      say(f"{error}; going on without it")

  def _try(self) -> Outcome:
    """One attempt; only the first may raise, unless a slice was taken away meanwhile."""
    self._attempt += 1
    try:
      return self._run_once()
    except (GcloudError, OSError, ValueError) as error:
      outcome = Outcome(LOST, str(error))
      if self._attempt == 1 and not (self._plan.preemptions and self._lost_slices(outcome)):
        raise
      return outcome

  def _run_once(self) -> Outcome:
    plan = self._plan
    workers = find_workers(plan.place, plan.prefix, plan.numbers)
    run_id = f"{self._id}-{self._attempt}"
    run_record.write(
      plan.logs,
      attempt=self._attempt,
      id=run_id,
      workers=[[each.slice_name, each.slice_number, each.number] for each in workers],
      alone=workers[0].alone,
    )
    slices = ", ".join(dict.fromkeys(each.slice_name for each in workers))
    say(f"{len(workers)} worker{'s' if len(workers) > 1 else ''} of {slices}")
    for worker in workers:
      if worker.number == min(each.number for each in workers):
        reach(worker, self._limits.connect, self._limits.retries)
    archive = self._copy_code(workers) if self._bare and plan.code else None
    title = f"{plan.run_name}, attempt {self._attempt}: {plan.command}"
    logs = open_logs(plan.logs, workers, title)
    task = Task(
      id=run_id,
      command=plan.command,
      folder=plan.run_name,
      archive=archive.path.name if archive else "",
      sha256=archive.sha256 if archive else "",
      secrets=plan.secrets or {},
      wait_for_device=_DEVICE_WAIT if self._attempt > 1 else 0.0,
      grace=self._limits.stop_grace,
    )
    try:
      if self._bare and plan.setup:
        say("setting up the workers")
        setup = replace(task, id=f"{run_id}-setup", command=plan.setup, wait_for_device=0.0)
        outcome = Fleet(workers, setup, self._limits, logs).run(self._interrupts)
        if outcome.status:
          return replace(outcome, text=f"setup: {outcome.text}")
        task = replace(task, archive="", sha256="")
      self._bare = False
      return Fleet(workers, task, self._limits, logs).run(self._interrupts)
    finally:
      for log in logs:
        log.close()

  def _copy_code(self, workers: list[Worker]) -> Archive:
    archive = pack(self._plan.code, self._plan.run_name)
    try:
      copy_to_all(workers, archive, self._plan.scp_timeout, self._limits.retries)
    finally:
      shutil.rmtree(archive.path.parent)
    return archive

  def _lost_slices(self, outcome: Outcome) -> str:
    """Says which slices are gone; empty: none is."""
    deadline = time.monotonic() + (_settle() if outcome.status in _MAYBE_PREEMPTED else 0.0)
    while True:
      try:
        if lost := self._source.lost():
          return lost
      except GcloudError as error:
        say(f"the state of the slices is not known: {error}")
      if time.monotonic() >= deadline:
        return ""
      time.sleep(min(1.0, _settle()))
