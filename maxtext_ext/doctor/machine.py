"""Accelerators of this machine, found through the operating system without JAX."""

import glob
import os
import socket
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

_TPU_FILES = ("accel[0-9]*", "vfio/[0-9]*")  # up to v4, and later
# Chips of a machine, as libtpu lays them out.
_BOUNDS = {1: "1,1,1", 2: "1,2,1", 4: "2,2,1", 8: "2,4,1"}
_QUERY = ("name", "memory.total", "driver_version")
_SECONDS = 60  # for nvidia-smi, which waits for a driver that hangs
_SHOWN = 80  # characters of a command line


@dataclass(frozen=True, kw_only=True)
class Gpu:
  """An NVIDIA GPU.

  Attributes:
    memory: in MiB.
    driver: version.
  """

  name: str
  memory: int
  driver: str


def tpu_files(dev: str = "/dev") -> list[str]:
  """Lists the device files of TPU chips, one per chip."""
  return sorted(path for name in _TPU_FILES for path in glob.glob(os.path.join(dev, name)))


def find_gpus() -> list[Gpu]:
  """Lists the GPUs that nvidia-smi shows; none where there is no such program.

  Raises:
    OSError: it is there and fails, as with a driver that is not loaded.
  """
  command = ["nvidia-smi", f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader,nounits"]
  try:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
  except FileNotFoundError:
    return []
  except subprocess.TimeoutExpired as error:
    raise OSError(f"nvidia-smi does not answer within {_SECONDS} s") from error
  if done.returncode:
    said = (done.stdout + done.stderr).strip().splitlines()
    raise OSError(f"nvidia-smi failed with status {done.returncode}: {(said or ['no message'])[0]}")
  return [_gpu(line) for line in done.stdout.splitlines() if line.strip()]


def _gpu(line: str) -> Gpu:
  parts = [part.strip() for part in line.split(",")]
  if len(parts) != len(_QUERY):
    raise OSError(f"nvidia-smi said {line!r:.200}, expected {', '.join(_QUERY)}")
  name, memory, driver = parts
  return Gpu(name=name, memory=int(memory) if memory.isdigit() else 0, driver=driver)


def holders(files: Iterable[str], proc: str = "/proc") -> list[str]:
  """Lists the processes that have a device file open, as far as this user may see them."""
  wanted = {os.path.realpath(file) for file in files}
  found = []
  for pid in sorted(filter(str.isdigit, os.listdir(proc)), key=int) if wanted else ():
    try:
      held = {os.readlink(link.path) for link in os.scandir(f"{proc}/{pid}/fd")} & wanted
      if held:
        with open(f"{proc}/{pid}/cmdline", "rb") as file:
          command = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
        found.append(f"process {pid} ({command[:_SHOWN]})")
    except OSError:  # it has ended, or is another user's
      continue
  return found


def alone_environment(chips: int) -> dict[str, str]:
  """Returns variables with which libtpu starts on this machine alone, also within a slice.

  Without them it waits for the other machines of the slice. Source: how JAX starts the processes of
  its own tests (jax/_src/test_multiprocess.py), here of one process.

  Raises:
    ValueError: no machine has so many chips.
  """
  if chips not in _BOUNDS:
    raise ValueError(f"{chips} TPU chips, expected {', '.join(map(str, _BOUNDS))} on a machine")
  with socket.socket() as free:
    free.bind(("localhost", 0))
    port = free.getsockname()[1]
  return {
    "TPU_PROCESS_BOUNDS": "1,1,1",
    "TPU_CHIPS_PER_PROCESS_BOUNDS": _BOUNDS[chips],
    "TPU_VISIBLE_CHIPS": ",".join(map(str, range(chips))),
    "CLOUD_TPU_TASK_ID": "0",
    "TPU_PROCESS_ADDRESSES": f"localhost:{port}",
    "TPU_PROCESS_PORT": str(port),
    "TPU_WORKER_ID": "0",
    "TPU_WORKER_HOSTNAMES": "localhost",
  }
