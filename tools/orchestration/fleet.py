"""One command on all workers of a run: live output, and the end of all when one fails."""

from __future__ import annotations

import json
import queue
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestration.connection import (
  Connection,
  Message,
  agent_command,
  ask,
  events_in,
  new_token,
)
from orchestration.console import say
from orchestration.gcloud import pause
from orchestration.interrupts import Interrupts
from orchestration.task import LOST, PEER_LOST, TIMED_OUT, Limits, Outcome, Task, describe_status
from orchestration.tpu_workers import Worker
from orchestration.worker_log import WorkerLog

_HEARD = 45.0  # seconds without a sign of life until a connection counts as lost
_ANSWER = 1.5  # seconds for the agent to say that it stops; then it is told by a second connection
_LINGER = 10.0  # seconds for a client to end after its command has
_STOP_TRIES = 3


class Member:
  """A worker in a run."""

  def __init__(self, worker: Worker, number: int, log: WorkerLog) -> None:
    self.worker = worker
    self.number = number
    self.log = log
    self.connection: Connection | None = None
    self.token = ""
    self.attempts = 0
    self.due = 0.0  # when to connect again
    self.deadline = float("inf")  # of the present phase
    self.heard = 0.0  # when its connection said something last
    self.phase = "waiting"  # connecting, running, ending, stopping, done
    self.status: int | None = None  # of the command; negative: a signal
    self.trouble = ""  # why there is no status
    self.unstarted = False  # whether the agent could not start the command
    self.told = False  # whether it was to stop
    self.second = False  # whether a second connection was made to stop it
    self.unconfirmed = False
    self.ended = float("inf")  # when its command did

  @property
  def name(self) -> str:
    """Name of the worker, for messages."""
    return self.worker.name

  def describe(self) -> str:
    """Says how it ended."""
    if self.trouble or self.status is None:
      return f"{self.name} {self.trouble or 'can no longer be reached'}"
    return f"{self.name} {describe_status(self.status)}"


class Fleet:
  """The workers of one attempt."""

  def __init__(
    self, workers: list[Worker], task: Task, limits: Limits, logs: list[WorkerLog]
  ) -> None:
    self._task = task
    self._limits = limits
    self._members = [
      Member(worker, number, log) for number, (worker, log) in enumerate(zip(workers, logs))
    ]
    self._events: queue.SimpleQueue[tuple[Member | None, Any, Any]] = queue.SimpleQueue()
    self._cause: list[Member] = []  # in the order in which they failed
    self._wish: Outcome | None = None
    self._killed = float("inf")  # when the agents end by force what was told to end
    self._announced = False

  def run(self, interrupts: Interrupts) -> Outcome:
    """Runs the command on all workers, to the end of all."""
    end = time.monotonic() + self._limits.command if self._limits.command else float("inf")
    interrupts.hand_to(lambda number: self._events.put((None, None, number)))
    try:
      while any(member.phase != "done" for member in self._members):
        try:
          member, connection, message = self._events.get(timeout=0.1)
        except queue.Empty:
          pass
        else:
          if member is None:
            self._interrupt(message)
          elif isinstance(message, Message):
            if connection is member.connection:
              self._take(member, message)
          else:
            self._take_answer(member, message)
        for each in self._members:
          self._tick(each)
        if time.monotonic() > end and self._wish is None and not self._cause:
          self._wish = Outcome(TIMED_OUT, f"the time limit of {self._limits.command:g} s is over")
          say(f"{self._wish.text}; stopping all workers")
          self._stop_all(self._limits.stop_grace)
    finally:
      interrupts.hand_to(None)
      for member in self._members:
        if member.connection:
          member.connection.close()
        member.log.flush()
    return self._outcome()

  # What comes in.

  def _interrupt(self, number: int) -> None:
    if self._wish is None:
      text = f"interrupted by {signal.Signals(number).name}"
      self._wish = Outcome(128 + number, text, wished=True)
      say(f"{text}; the workers have {self._limits.stop_grace:g} s to end (once more: at once)")
      self._stop_all(self._limits.stop_grace)
    else:
      say("ending all workers at once")
      self._stop_all(0.0)

  def _take(self, member: Member, message: Message) -> None:
    if message.event is not None:
      self._take_event(member, message.event)
    elif message.closed is not None:
      self._take_end(member, message.closed)

  def _take_event(self, member: Member, event: dict[str, Any]) -> None:
    if "started" in event:
      member.phase, member.deadline = "running", float("inf")
      for line in event.get("busy") or ():
        say(f"{member.name}: {line}; it is left alone")
      if not self._announced and all(each.phase == "running" for each in self._members):
        self._announced = True
        say(f"the command runs on {_count(self._members)}")
    elif "stopping" in event:
      member.phase = "stopping"
      member.deadline = time.monotonic() + event["stopping"] + _LINGER
    elif "ended" in event:
      member.log.flush()
      member.status, member.ended = event["ended"], time.monotonic()
      member.phase, member.deadline = "ending", time.monotonic() + _LINGER
      if member.told:
        return
      if member.status:
        self._fail(member)
      else:
        at_work = [each.name for each in self._members if each.phase in ("connecting", "running")]
        left = f"; still at work: {', '.join(at_work)}" if at_work else ""
        say(f"{member.name} is done{left}")
    elif "problem" in event:
      member.phase, member.deadline = "ending", time.monotonic() + _LINGER
      if not member.told:
        member.unstarted = True
        member.trouble = f"could not start the command: {event['problem']}"
        self._fail(member)
    elif "again" in event and member.phase in ("connecting", "running"):
      self._lose(member, "lost its connection")  # gcloud then repeats the command

  def _take_end(self, member: Member, status: int) -> None:
    """The client has ended."""
    if member.phase == "ending":
      member.phase = "done"
    elif member.phase == "connecting":
      self._retry(member, _last(member, f"ssh ended with status {status}"), status)
    elif member.phase in ("running", "stopping") and not member.second:
      self._lose(member, "lost its connection")

  def _take_answer(self, member: Member, answer: bool) -> None:
    """A second connection has stopped the worker's command, or could not."""
    if member.phase == "done":
      return
    member.unconfirmed = not answer
    if member.connection:
      member.connection.close()
    member.phase = "done"

  # What is done.

  def _tick(self, member: Member) -> None:
    now = time.monotonic()
    if member.phase == "waiting" and now >= member.due:
      self._connect(member)
    elif member.phase == "running" and not member.told and now > member.heard + _HEARD:
      self._lose(member, f"gave no sign of life for {_HEARD:g} s")
    elif now > member.deadline:
      member.deadline = float("inf")
      if member.phase == "connecting":
        self._retry(member, f"no answer within {self._limits.connect:g} s", TIMED_OUT)
      elif member.phase == "ending":
        member.phase = "done"
      elif not member.second:
        self._stop_by_second(member, max(0.0, self._killed - now))

  def _connect(self, member: Member) -> None:
    member.attempts += 1
    member.token = new_token()
    task = self._task
    spec = {
      "id": self._id(member),
      "token": member.token,
      "command": task.command,
      "folder": task.folder,
      "archive": task.archive,
      "sha256": task.sha256,
      "secrets": bool(task.secrets),
      "environment": {
        "MULTIHOST_SLICE": str(member.worker.slice_number),
        "MULTIHOST_WORKER": str(member.worker.number),
      },
      "wait_for_device": task.wait_for_device,
      "grace": task.grace,
    }
    member.phase = "connecting"
    member.deadline = time.monotonic() + self._limits.connect + task.wait_for_device
    member.connection = self._open(member, agent_command("run", spec))

  def _open(self, member: Member, command: str) -> Connection:
    connection: list[Connection] = []
    ready = threading.Event()

    def receive(message: Message) -> None:
      """Takes a message, in a thread of the connection, which alone waits for a slow terminal."""
      ready.wait()
      member.heard = time.monotonic()
      if message.output:
        member.log.write(message.output)
      elif message.note:
        member.log.note(message.note)
      else:
        self._events.put((member, connection[0], message))

    secrets = json.dumps(self._task.secrets) if self._task.secrets else ""
    connection.append(Connection(member.worker.ssh(command), member.token, receive, secrets))
    ready.set()
    return connection[0]

  def _id(self, member: Member) -> str:
    return f"{self._task.id}/{member.worker.slice_number}.{member.worker.number}"

  def _retry(self, member: Member, why: str, status: int) -> None:
    """Connects again after a while, or gives up."""
    if member.connection:
      member.connection.close()
    if member.told:
      self._stop_by_second(member, 0.0)
    elif status == 127:
      member.trouble = f"has no python3, which the runner needs there: {why}"
      member.phase = "done"
      self._fail(member)
    elif member.attempts > self._limits.retries:
      member.trouble = f"could not be reached in {member.attempts} attempts: {why}"
      self._fail(member)
      self._stop_by_second(member, 0.0)
    else:
      wait = pause(member.attempts - 1)
      say(f"{member.name}: {why}; connecting again in {wait:g} s")
      member.phase, member.due = "waiting", time.monotonic() + wait

  def _lose(self, member: Member, trouble: str) -> None:
    """The connection of a running command is gone."""
    if member.connection:
      member.connection.close()
    if not member.told:
      member.trouble = trouble
      self._fail(member)
    self._stop_by_second(member, self._limits.fail_grace)

  def _fail(self, member: Member) -> None:
    self._cause.append(member)
    if self._wish is None and len(self._cause) == 1:
      others = [each for each in self._members if each.phase != "done" and each is not member]
      say(f"{member.describe()}{'; stopping the others' if others else ''}")
      self._stop_all(self._limits.fail_grace)

  def _stop_all(self, grace: float) -> None:
    self._killed = min(self._killed, time.monotonic() + grace)
    for member in self._members:
      if member.phase == "waiting":
        member.phase = "done"
        if member.attempts:  # an earlier attempt may still reach the worker
          self._stop_by_second(member, grace)
      elif member.phase == "connecting":
        member.told = True
        self._stop_by_second(member, grace)
      elif member.phase in ("running", "stopping"):
        member.told = True
        if member.connection:
          member.connection.send(f"stop {grace:g}")
        if member.phase == "running":
          member.deadline = time.monotonic() + _ANSWER

  def _stop_by_second(self, member: Member, grace: float) -> None:
    """Stops a worker's command by a connection of its own."""
    if member.second:
      return
    member.second = member.told = True
    member.phase, member.deadline = "stopping", float("inf")

    def work() -> None:
      stopped = stop_command(member.worker, self._id(member), grace)
      self._events.put((member, None, stopped))

    threading.Thread(target=work, daemon=True).start()

  def _outcome(self) -> Outcome:
    unconfirmed = tuple(each.name for each in self._members if each.unconfirmed)
    if self._wish is not None:
      return replace(self._wish, unconfirmed=unconfirmed)
    if not self._cause:
      return Outcome(0, f"the command succeeded on {_count(self._members)}")
    cause = self._find_cause()
    status = cause.status or (1 if cause.unstarted else LOST)
    return Outcome(
      128 - status if status < 0 else status,
      cause.describe(),
      tail=tuple(cause.log.tail),
      unconfirmed=unconfirmed,
    )

  def _find_cause(self) -> Member:
    """The first that failed; but who ends because of another is not the cause."""
    for member in [*self._cause, *self._members]:
      itself = member in self._cause or self._ended_by_itself(member)
      if itself and member.status != PEER_LOST:
        return member
    return next((each for each in self._members if each.unconfirmed), self._cause[0])

  def _ended_by_itself(self, member: Member) -> bool:
    """Tells whether a worker that was told to end failed before it could do so for that reason."""
    by_force = member.status in (-signal.SIGKILL, 128 + signal.SIGKILL)
    told = member.status in (0, None, -signal.SIGTERM, 128 + signal.SIGTERM)
    return not told and not (by_force and member.ended > self._killed)


def stop_command(worker: Worker, run_id: str, grace: float) -> bool:
  """Stops the command of this id on a worker; returns whether that is certain."""
  for attempt in range(_STOP_TRIES):
    token = new_token()
    command = agent_command("stop", {"id": run_id, "token": token, "grace": grace})
    done = ask(worker.ssh(command), timeout=grace + 20.0)
    if any("stopped" in event for event in events_in(done.stdout, token)):
      return True
    if attempt < _STOP_TRIES - 1:
      time.sleep(pause(attempt))
  return False


def _last(member: Member, otherwise: str) -> str:
  notes = member.connection.last_notes if member.connection else []
  return notes[-1] if notes else otherwise


def _count(members: list[Member]) -> str:
  return f"all {len(members)} workers" if len(members) > 1 else members[0].name


def open_logs(folder: Path, workers: list[Worker], title: str) -> list[WorkerLog]:
  """Log files of the workers in a folder."""
  logs = [
    WorkerLog(folder / worker.log_name, worker.name, number)
    for number, worker in enumerate(workers)
  ]
  for log in logs:
    log.begin(title)
  return logs
