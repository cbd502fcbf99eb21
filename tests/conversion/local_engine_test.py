"""Jobs in this process and in several: results, counts, stops, and workers that die."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from maxtext_ext.conversion.local_engine import JobsStopped, run_jobs
from maxtext_ext.conversion.shard_job import ShardStatus


@dataclasses.dataclass(frozen=True)
class Job:
  name: int
  steps: int = 3
  folder: str = ""


def work(job: Job, watch) -> int:
  status = ShardStatus()
  for step in range(job.steps):
    status.read += 1
    status.samples += 10
    status.bad += step % 2
    status.done = (step + 1) / job.steps
    if step % 2:
      status.reasons.append(f"{job.name}.{step}")
    watch(status)
  return job.name * 100


def work_for_ever(job: Job, watch) -> None:
  """Until it is stopped; it leaves a trace of having begun and of having ended in good order."""
  status = ShardStatus(reasons=[f"of {job.name}"])
  (pathlib.Path(job.folder) / f"begun-{job.name}-{os.getpid()}").touch()
  try:
    while True:
      watch(status)
      time.sleep(0.01)
  finally:
    (pathlib.Path(job.folder) / f"ended-{job.name}").touch()


def die(job: Job, watch) -> None:
  if job.name == 1:
    os.kill(os.getpid(), signal.SIGKILL)
  work_for_ever(job, watch)


def fail(job: Job, watch) -> None:
  if job.name == 1:
    raise OSError(28, "No space left on device", "shard 1")
  work_for_ever(job, watch)


@pytest.mark.parametrize("workers", [1, 2, 9])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_results_in_order_and_counts_of_all(workers, count):
  told: list[ShardStatus] = []

  def watch(status: ShardStatus) -> bool:
    told.append(dataclasses.replace(status))
    return True

  jobs = [Job(number, steps=number) for number in range(count)]
  assert run_jobs(work, jobs, workers=workers, watch=watch) == [100 * i for i in range(count)]
  if count > 1:
    last = told[-1]
    assert (last.read, last.samples, last.bad) == (10, 100, 4)
    assert last.done == pytest.approx(1.0)
    assert [status.read for status in told] == sorted(status.read for status in told)


@pytest.mark.parametrize("workers", [1, 2])
def test_stop(tmp_path, workers):
  jobs = [Job(number, folder=str(tmp_path)) for number in range(6)]

  def watch(status: ShardStatus) -> bool:
    return len(list(tmp_path.glob("begun-*"))) < workers

  with pytest.raises(JobsStopped) as caught:
    run_jobs(work_for_ever, jobs, workers=workers, watch=watch)
  reasons = caught.value.status.reasons
  assert reasons[:workers] == [f"of {number}" for number in range(workers)]
  begun = {path.name.split("-")[1] for path in tmp_path.glob("begun-*")}
  assert {path.name.split("-")[1] for path in tmp_path.glob("ended-*")} == begun


@pytest.mark.parametrize("workers", [1, 2])
def test_what_the_watcher_raises_stops_the_jobs(tmp_path, workers):
  jobs = [Job(number, folder=str(tmp_path)) for number in range(3)]

  def watch(status: ShardStatus) -> bool:
    if len(list(tmp_path.glob("begun-*"))) == workers:
      raise KeyboardInterrupt
    return True

  with pytest.raises(KeyboardInterrupt):
    run_jobs(work_for_ever, jobs, workers=workers, watch=watch)
  assert len(list(tmp_path.glob("ended-*"))) == len(list(tmp_path.glob("begun-*")))


def test_an_error_of_a_job_stops_the_others_and_comes_through(tmp_path):
  jobs = [Job(number, folder=str(tmp_path)) for number in range(3)]
  with pytest.raises(OSError, match="No space left on device: 'shard 1'"):
    run_jobs(fail, jobs, workers=2, watch=lambda status: True)
  assert len(list(tmp_path.glob("ended-*"))) == len(list(tmp_path.glob("begun-*")))


def test_a_worker_that_is_killed_is_one_clear_error(tmp_path):
  jobs = [Job(number, folder=str(tmp_path)) for number in range(3)]
  with pytest.raises(ValueError, match=r"a worker process was killed.*run the same command again"):
    run_jobs(die, jobs, workers=2, watch=lambda status: True)


PARENT = """
import sys
from maxtext_ext.conversion.local_engine import run_jobs
from tests.conversion.local_engine_test import Job, work_for_ever

if __name__ == "__main__":
  jobs = [Job(number, folder=sys.argv[1]) for number in range(2)]
  run_jobs(work_for_ever, jobs, workers=2, watch=lambda status: True)
"""


@pytest.mark.integration_test
def test_workers_end_with_a_parent_that_is_killed(tmp_path):
  script = tmp_path / "parent.py"
  script.write_text(PARENT)
  root = str(pathlib.Path(__file__).parents[2])
  parent = subprocess.Popen(
    [sys.executable, str(script), str(tmp_path)], env={**os.environ, "PYTHONPATH": root}
  )
  wait_for(lambda: len(list(tmp_path.glob("begun-*"))) == 2)
  workers = [int(path.name.split("-")[2]) for path in tmp_path.glob("begun-*")]
  assert all(map(is_alive, workers))
  parent.kill()
  parent.wait()
  wait_for(lambda: not any(map(is_alive, workers)))


def wait_for(condition) -> None:
  deadline = time.monotonic() + 600
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.02)


def is_alive(pid: int) -> bool:
  try:
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
  except (FileNotFoundError, ProcessLookupError):
    return False
  return stat.rpartition(")")[2].split()[0] != "Z"
