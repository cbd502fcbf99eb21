import random

import pytest
from orchestration.job_script import LIMIT, startup_script
from orchestration.job_state import Job, progress, workers_of

JOB = Job("a", "run", "true", "gs://b/run", "p", "z", workers=2, restarts=1, preemptions=1)


@pytest.mark.parametrize(
  ("marks", "attempt", "over"),
  [
    ("", 0, ""),
    ("0/done-0", 0, ""),
    ("0/done-0 0/done-1", 0, "finished"),
    ("0/failed-0", 1, ""),
    ("0/failed-0 0/failed-1", 1, ""),
    ("0/failed-0 1/done-0", 1, ""),
    ("0/failed-0 1/done-0 1/done-1", 1, "finished"),
    ("0/failed-0 1/failed-1", 1, "failed"),
    ("0/failed-0 1/lost-1", 2, ""),
    ("0/lost-0 1/lost-0", 1, "failed"),
    # A failure explains the losses of the same attempt, and ends also those that succeeded.
    ("0/lost-0 0/failed-1 1/lost-0", 2, ""),
    ("0/done-0 0/failed-1", 1, ""),
    # One that succeeded and was then thought to be lost begins anew with the others.
    ("0/done-0 0/done-1 0/lost-1", 1, ""),
    ("stop", 0, "stopped"),
    ("0/done-0 stop 0/done-1", 0, "stopped"),
    ("1/failed-0", 0, ""),
  ],
)
def test_marks_tell_how_far_a_job_is(marks, attempt, over):
  names = []
  for mark in marks.split():
    number, _, end = mark.partition("/")
    how, _, worker = end.partition("-")
    names.append(f"attempt_{number}/{how}_slice_0_worker_{worker}" if end else mark)
  now = progress(JOB, [f"marks/a/{name}" for name in names])
  assert (now.attempt, now.over) == (attempt, over)


def test_a_job_is_the_same_after_writing_and_reading():
  assert Job.from_json(JOB.to_json()) == JOB


@pytest.mark.parametrize(
  ("tpu_type", "workers"),
  [("v4-8", 1), ("v4-32", 4), ("v5p-64", 8), ("v5litepod-8", 1), ("v5litepod-16", 4), ("v6e-4", 1)],
)
def test_a_type_tells_how_many_workers_a_slice_has(tpu_type, workers):
  assert workers_of(tpu_type) == workers


@pytest.mark.parametrize("tpu_type", ["v4", "v4-x", "h100-8", ""])
def test_an_unknown_type_is_refused(tpu_type):
  with pytest.raises(ValueError, match="WORKERS_PER_SLICE"):
    workers_of(tpu_type)


def test_a_command_must_fit_into_the_metadata():
  noise = random.Random(0).randbytes(200_000).hex()
  with pytest.raises(ValueError, match="put a long --COMMAND into a script"):
    startup_script(Job("a", "run", noise, "gs://b/run", "p", "z"))
  assert len(startup_script(JOB)) < LIMIT / 4
