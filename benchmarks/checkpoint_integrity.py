"""Time of restoring a checkpoint with its checksums verified, beside Orbax alone.

    python -m benchmarks.checkpoint_integrity

A checkpoint of random float32 arrays is saved by Orbax in a temporary folder and listed as training
does it. It is restored again and again, in turn with and without verification: from the page cache,
and after the system was asked to forget the files. Of each kind the quickest counts, which other
work on the machine disturbs least. The last line is JSON; `ours` and `peer` are seconds from the
page cache, where reading is quickest and the checksums weigh most.
"""

import argparse
import json
import os
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp
from rich.console import Console
from rich.table import Table

from maxtext_ext.checkpoint.integrity import Verification, write_checksums

GB = 10**9
_ARRAYS = 24


def save(folder: Path, nbytes: float) -> tuple[Path, float]:
  """Saves about so many bytes; returns the folder of the step and the seconds of listing it."""
  rng = np.random.default_rng(0)
  rows = int(nbytes / _ARRAYS / 4 / 1024)
  state = {f"layer_{i}": rng.normal(size=(rows, 1024)).astype(np.float32) for i in range(_ARRAYS)}
  with ocp.training.Checkpointer(folder) as manager:
    manager.save_checkpointables(1, {"items": jax.device_put(state)})
  began = time.perf_counter()
  write_checksums(str(folder / "1"))
  return folder / "1", time.perf_counter() - began


def restore(
  step: Path, *, verified: bool, abstract: dict[str, jax.ShapeDtypeStruct]
) -> tuple[float, float]:
  """Restores it; returns seconds and processor seconds of all threads."""
  began, worked = time.perf_counter(), time.process_time()
  with Verification(f"{step}/items") if verified else nullcontext():
    ocp.load_checkpointables(step, {"items": abstract})
  return time.perf_counter() - began, time.process_time() - worked


def forget(step: Path) -> None:
  """Asks the system to drop the files from its page cache."""
  for file in step.rglob("*"):
    if file.is_file():
      with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(step: Path, times: int, *, cold: bool) -> dict[bool, tuple[float, float]]:
  """Measures the least seconds and processor seconds, with verification (True) and without."""
  metadata = ocp.checkpointables_metadata(step).metadata["items"]
  device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  abstract = {
    name: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=device)
    for name, array in metadata.items()
  }
  taken: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
  restore(step, verified=False, abstract=abstract)  # what is done once in a process
  for turn in range(2 * times):
    if cold:
      forget(step)
    verified = (turn + turn // 2) % 2 == 0  # each is first as often as the other
    taken[verified].append(restore(step, verified=verified, abstract=abstract))
  return {
    verified: (min(wall for wall, _ in found), min(work for _, work in found))
    for verified, found in taken.items()
  }


def main() -> None:
  """Measures, and prints the table and the JSON line."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--gigabytes", type=float, default=1.0)
  parser.add_argument("--times", type=int, default=7)
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as scratch:
    step, listing = save(Path(scratch) / "run", args.gigabytes * GB)
    stored = sum(file.stat().st_size for file in step.rglob("*") if file.is_file())
    table = Table("restored from", "verified, s", "Orbax alone, s", "cost", "processor time")
    for name, cold in (("the disk", True), ("the page cache", False)):
      found = measure(step, args.times, cold=cold)
      (ours, ours_work), (peer, peer_work) = found[True], found[False]
      cells = (
        f"{ours:.2f}",
        f"{peer:.2f}",
        f"{ours / peer - 1:+.1%}",
        f"{ours_work / peer_work - 1:+.1%}",
      )
      table.add_row(name, *cells)
  console = Console()
  console.print(table)
  console.print(f"{stored / GB:.2f} GB; listing them at commit takes {listing:.2f} s")
  result = {
    "name": "restore with verified checksums",
    "ours": round(ours, 3),
    "peer": round(peer, 3),
    "ratio": round(ours / peer, 3),
    "unit": "s",
    "gigabytes": round(stored / GB, 2),
  }
  print(json.dumps(result))


if __name__ == "__main__":
  main()
