"""TPU slices and their workers, as `gcloud` lists and reaches them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestration.gcloud import GcloudError, call


@dataclass(frozen=True)
class Place:
  """Project and zone of the slices, and the way to them."""

  project: str
  zone: str
  internal_ip: bool = False

  @property
  def flags(self) -> list[str]:
    """Flags of gcloud for the place."""
    return [f"--project={self.project}", f"--zone={self.zone}"]


@dataclass(frozen=True)
class Worker:
  """One machine of a slice.

  Attributes:
    slice_name: of the TPU.
    slice_number: from 0, in the order of the names.
    number: of the worker in its slice, from 0.
    alone: whether there is only one slice.
  """

  place: Place
  slice_name: str
  slice_number: int
  number: int
  alone: bool = True

  @property
  def name(self) -> str:
    """Name of the worker, for messages."""
    return (
      f"worker {self.number}" if self.alone else f"slice {self.slice_number} worker {self.number}"
    )

  @property
  def log_name(self) -> str:
    """Name of its log file."""
    return f"output_slice_{self.slice_number:04d}_worker_{self.number:04d}.txt"

  def ssh(self, command: str) -> list[str]:
    """Command line that runs a command of the shell on the worker."""
    return [
      *["gcloud", "alpha", "compute", "tpus", "tpu-vm", "ssh"],
      self.slice_name,
      f"--worker={self.number}",
      "--command",
      command,
      "--strict-host-key-checking=no",
      *self.place.flags,
      *(["--internal-ip"] if self.place.internal_ip else []),
    ]

  def copy(self, path: Path) -> list[str]:
    """Command line that copies a file into the worker's home folder."""
    return [
      *["gcloud", "compute", "tpus", "tpu-vm", "scp"],
      f"--worker={self.number}",
      str(path),
      f"{self.slice_name}:~/",
      "--strict-host-key-checking=no",
      *self.place.flags,
      *(["--internal-ip"] if self.place.internal_ip else []),
    ]


def find_workers(place: Place, prefix: str, numbers: Sequence[int] = ()) -> list[Worker]:
  """The workers of the slice of this name, or of all slices that are called `PREFIX-NUMBER`.

  Args:
    numbers: of the wanted workers in each slice; empty: all.

  Raises:
    GcloudError: gcloud failed.
    ValueError: there is no such slice, or worker.
  """
  listed = call(
    *["alpha", "compute", "tpus", "tpu-vm", "list"],
    f"--filter=name~{prefix}",
    "--format=csv(name,accelerator_type)",
    *place.flags,
  )
  names = [line.split(",")[0].strip() for line in listed.splitlines()[1:] if line.strip()]
  slices = [prefix] if prefix in names else _numbered(names, prefix)
  if not slices:
    there = f" (there: {', '.join(names)})" if names else ""
    raise ValueError(
      f"no TPU is called {prefix} or {prefix}-NUMBER in project {place.project}, zone"
      f" {place.zone}{there};"
      " `gcloud compute tpus tpu-vm list` shows them"
    )
  workers = [
    Worker(place, name, index, number, alone=len(slices) == 1)
    for index, name in enumerate(slices)
    for number in range(_worker_count(place, name))
  ]
  there = {worker.number for worker in workers}
  if missing := sorted(set(numbers) - there):
    raise ValueError(
      f"--WORKER: no worker {', '.join(map(str, missing))} in {', '.join(slices)}; there are 0 to"
      f" {max(there)}"
    )
  return [worker for worker in workers if not numbers or worker.number in numbers]


def _numbered(names: list[str], prefix: str) -> list[str]:
  matches = (re.fullmatch(rf"{re.escape(prefix)}-([0-9]+)", name) for name in names)
  return [found[0] for found in sorted(filter(None, matches), key=lambda found: int(found[1]))]


def _worker_count(place: Place, name: str) -> int:
  lines = call(
    *["compute", "tpus", "tpu-vm", "describe"],
    name,
    "--flatten=networkEndpoints[]",
    "--format=csv[no-heading](networkEndpoints.ipAddress)",
    *place.flags,
  ).split()
  if not lines:
    raise ValueError(f"{name} has no workers yet: wait until it is READY")
  return len(lines)


def node_state(place: Place, name: str) -> str:
  """State of a TPU, such as READY or PREEMPTED; ABSENT: there is none.

  Raises:
    GcloudError: gcloud failed.
  """
  try:
    text = call(
      *["compute", "tpus", "tpu-vm", "describe"], name, "--format=value(state)", *place.flags
    )
  except GcloudError as error:
    if error.not_found:
      return "ABSENT"
    raise
  found = re.search(r"""^\W*(?:"?state"?\s*:\s*)?"?([A-Z_]+)"?,?\s*$""", text, re.MULTILINE)
  return found[1] if found else "UNKNOWN"
