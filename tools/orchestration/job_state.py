"""Job on queued resources: what it is, and how far it has come by the marks in its bucket.

The folder of a run holds the code, the latest submission (`job.json`), and for every worker its log
and its status. Below `marks/ID`, ID being that of the submission, the workers tell each other how
their commands ended: an object `attempt_0/failed_slice_0_worker_1` ends attempt 0 for all of them.
From the names alone each of them sees whether to go on, to begin the next attempt, or to end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

JOB_FILE = "job.json"
STOP = "stop"  # the mark by which a user ends the job

# How an attempt ended on one worker.
DONE, FAILED, LOST = "done", "failed", "lost"
# How a job ended.
FINISHED, STOPPED = "finished", "stopped"

_MARK = re.compile(r"attempt_(\d+)/([a-z]+)_slice_(\d+)_worker_(\d+)")


@dataclass(frozen=True)
class Job:
  """One submission of a run."""

  id: str
  run_name: str
  command: str
  folder: str  # gs://BUCKET/DIR/RUN_NAME
  project: str
  zone: str
  tpu_type: str = "v4-8"
  version: str = "tpu-ubuntu2204-base"
  slices: int = 1
  workers: int = 1  # of a slice
  extra: list[str] = field(default_factory=list)  # for gcloud, when the slices are requested
  queue_seconds: int = 0  # in the queue until the service withdraws the request; 0: any number
  restarts: int = 0  # attempts after failed ones
  preemptions: int = 10  # attempts after machines were lost
  delete_after: float = 600.0  # seconds from the end to the deletion; negative: never
  venv: bool = True  # make and activate a virtual environment, as MaxText does
  poll_seconds: float = 4.0  # between two looks of a worker at the marks
  log_seconds: float = 60.0  # between two copies of a log to the bucket
  silence_seconds: float = 900.0  # without a sign of life until a worker counts as lost
  takeover_seconds: float = 120.0  # until the next worker deletes the slices if the first did not

  @property
  def archive(self) -> str:
    """Name of the code in the bucket."""
    return f"script_dir_zip_{self.run_name}.tar.gz"

  @property
  def marks(self) -> str:
    """Name of the folder of marks."""
    return f"marks/{self.id}"

  def everybody(self) -> list[tuple[int, int]]:
    """Returns slice and worker of every machine."""
    return [(group, worker) for group in range(self.slices) for worker in range(self.workers)]

  def to_json(self) -> str:
    """Writes it as JSON."""
    return json.dumps(asdict(self), indent=1)

  @classmethod
  def from_json(cls, text: str) -> Job:
    """Reads what `to_json` wrote."""
    return cls(**json.loads(text))


def log_name(group: int, worker: int) -> str:
  """Returns the name of a worker's log, which is MaxText's."""
  return f"main_command_log_slice_{group}_worker_{worker}"


def status_name(group: int, worker: int) -> str:
  """Returns the name of a worker's status."""
  return f"status_slice_{group}_worker_{worker}.json"


def mark_name(attempt: int, how: str, group: int, worker: int) -> str:
  """Returns the name of a mark, below `Job.marks`."""
  return f"attempt_{attempt}/{how}_slice_{group}_worker_{worker}"


@dataclass(frozen=True)
class Progress:
  """Progress of a job."""

  attempt: int  # that is running, or was the last
  over: str  # "" or how it ended: FINISHED, FAILED, STOPPED
  done: frozenset[tuple[int, int]]  # workers whose command succeeded in this attempt


def progress(job: Job, marks: Iterable[str]) -> Progress:
  """Reads the progress of a job off the names of its marks.

  >>> job = Job("a", "run", "true", "gs://b/run", "p", "z", workers=2, restarts=1)
  >>> progress(job, ["marks/a/attempt_0/failed_slice_0_worker_1"]).attempt
  1
  """
  ends: dict[int, dict[tuple[int, int], str]] = {}
  stopped = False
  for name in marks:
    below = name[len(job.marks) + 1 :]
    stopped = stopped or below == STOP
    found = _MARK.fullmatch(below)
    if found:
      who = (int(found[3]), int(found[4]))
      ends.setdefault(int(found[1]), {}).setdefault(who, found[2])
      if found[2] != DONE:
        ends[int(found[1])][who] = found[2]
  attempt, failures, losses = 0, 0, 0
  while True:
    hows = set(ends.get(attempt, {}).values())
    failures += FAILED in hows
    losses += FAILED not in hows and LOST in hows
    failed = failures > job.restarts or losses > job.preemptions
    if failed or not hows - {DONE}:
      break
    attempt += 1
  done = frozenset(who for who, how in ends.get(attempt, {}).items() if how == DONE)
  if stopped:
    over = STOPPED
  elif failed:
    over = FAILED
  else:
    over = FINISHED if len(done) == job.slices * job.workers else ""
  return Progress(attempt, over, done)


def workers_of(tpu_type: str) -> int:
  """Returns how many machines a slice of this type has.

  Raises:
    ValueError: the type is of a kind that is not known.
  """
  kind, _, number = tpu_type.lower().rpartition("-")
  if number.isdigit() and kind in ("v2", "v3", "v4", "v5p"):
    return max(1, int(number) // 8)  # 8 cores a machine
  if number.isdigit() and kind in ("v5litepod", "v5e", "v6e"):
    return 1 if int(number) <= 8 else int(number) // 4  # 4 chips a machine, or one with up to 8
  raise ValueError(
    f"--TPU_TYPE={tpu_type}: expected v2-N, v3-N, v4-N, v5p-N, v5litepod-N or v6e-N; for another "
    "one give --WORKERS_PER_SLICE"
  )
