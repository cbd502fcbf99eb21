"""Local engine: jobs in this process or in several, with live progress and an early stop."""

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.sharedctypes import RawArray, RawValue
from typing import Any

import numpy as np

from maxtext_ext.conversion.shard_job import ProgressCallback, ShardStatus
from maxtext_ext.records.quarantine import REASONS_KEPT

Function = Callable[[Any, ProgressCallback], Any]  # run_shard, or another of its form
ProgressOfAll = Callable[[ShardStatus], bool]  # told of all jobs together; False stops them

_POLL = 0.1  # seconds
_FIELDS = ("done", "read", "samples", "bad")  # of ShardStatus, on the board


class JobsStopped(Exception):
  """`watch` has stopped the jobs; `status` sums all of them, with the first reasons in order."""

  def __init__(self, status: ShardStatus) -> None:
    super().__init__("stopped")
    self.status = status


def run_jobs(
  function: Function, jobs: Sequence[Any], *, workers: int, watch: ProgressOfAll
) -> list[Any]:
  """Calls `function(job, watch)` for each job; returns what it returns, in the order of the jobs.

  Args:
    function: module-level; calls its `watch` often, and does not catch what that raises.
    jobs: can be pickled.
    workers: processes; with 1 (or a single job) everything runs in this one.
    watch: called with the sum of all jobs (`done`: their mean).

  Raises:
    JobsStopped: `watch` said so.
    ValueError: a process died. Errors of jobs are raised too, after the others are stopped.
  """
  if min(workers, len(jobs)) <= 1:
    return _run_here(function, jobs, watch)
  return _Pool(function, jobs, min(workers, len(jobs)), watch).run()


def _run_here(function: Function, jobs: Sequence[Any], watch: ProgressOfAll) -> list[Any]:
  ended = ShardStatus()  # `done` counts jobs
  now = ShardStatus()

  def watch_one(status: ShardStatus) -> None:
    nonlocal now
    now = status
    total = _total([ended, now], len(jobs))
    if not watch(total):
      raise JobsStopped(total)

  results = []
  for job in jobs:
    now = ShardStatus()
    results.append(function(job, watch_one))
    ended = _total([ended, dataclasses.replace(now, done=1.0)], 1)
  return results


def _total(statuses: Sequence[ShardStatus], jobs: int) -> ShardStatus:
  reasons = [reason for status in statuses for reason in status.reasons]
  return ShardStatus(
    done=sum(status.done for status in statuses) / jobs,
    read=sum(status.read for status in statuses),
    samples=sum(status.samples for status in statuses),
    bad=sum(status.bad for status in statuses),
    reasons=reasons[:REASONS_KEPT],
  )


class _Board:
  """Shared memory of all processes: a row of counts for each job, and a stop flag.

  A queue would not do: a process killed while writing to one blocks the others forever.
  """

  def __init__(self, jobs: int) -> None:
    self._counts = RawArray("d", jobs * len(_FIELDS))
    self._stop = RawValue("b", 0)

  def write(self, index: int, status: ShardStatus) -> None:
    start = index * len(_FIELDS)
    self._counts[start : start + len(_FIELDS)] = [getattr(status, name) for name in _FIELDS]

  def total(self) -> ShardStatus:
    rows = np.frombuffer(self._counts).reshape(-1, len(_FIELDS))
    done, *counts = rows.sum(axis=0)
    read, samples, bad = map(int, counts)
    return ShardStatus(done=done / len(rows), read=read, samples=samples, bad=bad)

  def stop(self) -> None:
    self._stop.value = 1

  def is_stopped(self) -> bool:
    return bool(self._stop.value)


class _Pool:
  """Pool of processes that run the jobs, watched by this one."""

  def __init__(
    self, function: Function, jobs: Sequence[Any], workers: int, watch: ProgressOfAll
  ) -> None:
    self._function = function
    self._jobs = jobs
    self._watch = watch
    self._board = _Board(len(jobs))
    self._executor = futures.ProcessPoolExecutor(
      workers,
      # Not fork: the threads of this process (progress bar, storage) do not survive it.
      multiprocessing.get_context("spawn"),
      initializer=_start_worker,
      initargs=(self._board,),
    )

  def run(self) -> list[Any]:
    with self._executor:
      with _interrupts_ignored():
        calls = [
          self._executor.submit(_call, self._function, index, job)
          for index, job in enumerate(self._jobs)
        ]
      try:
        go_on = self._wait(calls)
      finally:
        # When all is well nothing runs any more.
        self._board.stop()
        self._executor.shutdown(wait=True, cancel_futures=True)
    outcomes = [call.result() for call in calls if not call.cancelled()]
    if not go_on:
      total = self._board.total()
      total.reasons = [reason for each in outcomes for reason in each.reasons][:REASONS_KEPT]
      raise JobsStopped(total)
    return [outcome.result for outcome in outcomes]

  def _wait(self, calls: Sequence[futures.Future[Any]]) -> bool:
    waiting = set(calls)
    while waiting:
      ended, waiting = futures.wait(waiting, _POLL, futures.FIRST_EXCEPTION)
      for call in ended:
        try:
          call.result()
        except BrokenProcessPool as error:
          raise ValueError(
            "a worker process was killed, perhaps out of memory; run the same command again "
            "to resume, with fewer --workers if it happens again"
          ) from error
      if not self._watch(self._board.total()):
        return False
    return True


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
  """Makes processes started in the block ignore Ctrl-C, which reaches every process of a terminal.

  The parent stops them instead.
  """
  if threading.current_thread() is not threading.main_thread():
    yield  # only the main thread may say what signals do
    return
  handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
  try:
    yield
  finally:
    signal.signal(signal.SIGINT, handler)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Outcome:
  result: Any  # None of a job that was stopped
  reasons: tuple[str, ...]


class _StopJob(Exception):
  """Job was stopped through the board."""


_board: _Board  # of a worker process


def _start_worker(board: _Board) -> None:
  global _board
  _board = board
  threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
  """Ends this worker when its parent dies: a killed parent cannot stop its workers."""
  parent = multiprocessing.parent_process()
  assert parent
  parent.join()
  os._exit(1)


def _call(function: Function, index: int, job: Any) -> _Outcome:
  last = ShardStatus()

  def watch(status: ShardStatus) -> None:
    nonlocal last
    last = status
    _board.write(index, status)
    if _board.is_stopped():
      raise _StopJob

  try:
    result = function(job, watch)
  except _StopJob:
    return _Outcome(result=None, reasons=tuple(last.reasons))
  _board.write(index, dataclasses.replace(last, done=1.0))
  return _Outcome(result=result, reasons=tuple(last.reasons))
