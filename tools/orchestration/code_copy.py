"""Code on its way to the workers: one archive, copied to each home folder."""

from __future__ import annotations

import hashlib
import queue
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from orchestration.code_archive import untracked_files, write_archive
from orchestration.connection import ask, going_on
from orchestration.console import say
from orchestration.gcloud import pause
from orchestration.tpu_workers import Worker

_NAMED = 5  # untracked files in a note


@dataclass(frozen=True)
class Archive:
  """The code of a run.

  Attributes:
    path: of the file here; its name is the same in the home folder of a worker.
    sha256: of it.
  """

  path: Path
  sha256: str


def pack(folder: Path, run_name: str) -> Archive:
  """Packs the files of a folder that git tracks.

  Raises:
    ValueError: as `code_archive.tracked_files`.
  """
  path = Path(tempfile.mkdtemp(prefix="multihost-")) / f"code_{run_name.replace('/', '-')}.tar.gz"
  count = write_archive(folder, path)
  say(f"copying {count} files of {folder}, {path.stat().st_size / 2**20:.1f} MiB")
  if left := untracked_files(folder):
    more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
    say(f"not copied, because git does not track them: {', '.join(left[:_NAMED])}{more}")
  return Archive(path, hashlib.sha256(path.read_bytes()).hexdigest())


def reach(worker: Worker, timeout: float, retries: int) -> None:
  """Connects to a worker once: gcloud makes the ssh key and puts it into the project then.

  Many that do so at the same time fail on one another.

  Raises:
    OSError: the worker cannot be reached.
  """
  _repeat(worker, worker.ssh("true"), timeout, retries, "could not be reached")


def copy_to_all(workers: list[Worker], archive: Archive, timeout: float, retries: int) -> None:
  """Copies the archive to all workers at the same time.

  Raises:
    OSError: it did not arrive at one of them within `timeout` seconds.
  """
  deadline = time.monotonic() + timeout
  results: queue.SimpleQueue[OSError | None] = queue.SimpleQueue()

  def work(worker: Worker) -> None:
    try:
      left = deadline - time.monotonic()
      _repeat(worker, worker.copy(archive.path), left, retries, "did not get the code", deadline)
      results.put(None)
    except OSError as error:
      results.put(error)

  for worker in workers:
    threading.Thread(target=work, args=(worker,), daemon=True).start()
  for _ in workers:
    if error := results.get():
      raise error


def _repeat(
  worker: Worker,
  command: list[str],
  timeout: float,
  retries: int,
  trouble: str,
  deadline: float = float("inf"),
) -> None:
  why = ""
  for attempt in range(retries + 1):
    done = ask(command, min(timeout, max(0.1, deadline - time.monotonic())))
    if done.returncode == 0 or not going_on():
      return
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    why = lines[-1].strip() if lines else f"exit status {done.returncode}"
    if attempt == retries or time.monotonic() > deadline:
      break
    say(f"{worker.name} {trouble}: {why}; again in {pause(attempt):g} s")
    time.sleep(pause(attempt))
  raise OSError(f"{worker.name} {trouble}: {why}; is --INTERNAL_IP right, and does the TPU run?")
