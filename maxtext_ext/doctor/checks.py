"""Checks of an installation that need no JAX: each finds what is well, or what is wrong and why."""

import importlib.metadata
import importlib.util
import os
import platform
import resource
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from maxtext_ext.doctor.machine import Gpu, find_gpus, holders, tpu_files
from maxtext_ext.files.limits import OPEN_FILES
from maxtext_ext.keys.machine import cache_folder
from maxtext_ext.version import __version__

Status = Literal["ok", "warning", "error"]

_PACKAGES = (
  *("maxtext", "jax", "jaxlib", "libtpu", "jax-cuda12-plugin", "jax-cuda13-plugin", "flax"),
  *("orbax-checkpoint", "grain", "transformers", "gcsfs"),
)
_CUDA_PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")
DRIVER = (525, 60, 13)  # the oldest that CUDA 12 runs on
_DISK = 10 * 2**30  # bytes free: a checkpoint of a small model, or the programs of a large one
_DISK_LEAST = 2**30
_LOCK = "/tmp/libtpu_lockfile"
_STALE = "MEGASCALE_"  # what a scheduler of several slices leaves


@dataclass(frozen=True, kw_only=True)
class Finding:
  """Finding of a check.

  Attributes:
    name: of what was looked at.
    said: what is there, or what is wrong.
    remedy: what to do; empty where nothing is wrong.
  """

  name: str
  status: Status
  said: str
  remedy: str = ""

  def __str__(self) -> str:
    return f"{self.name}: {self.said}{f'; {self.remedy}' if self.remedy else ''}"


def versions() -> dict[str, str]:
  """The versions of Python, of this package and of what it stands on, as far as installed."""
  result = {"python": platform.python_version(), "maxtext_ext": __version__}
  for name in _PACKAGES:
    try:
      result[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      continue
  return result


def check_machine(expected: str = "") -> list[Finding]:
  """All checks of this module, essentials first; `expected` as of `check_accelerator`."""
  libtpu, cuda = _installed("libtpu"), any(map(_installed, _CUDA_PLUGINS))
  return [
    check_accelerator(tpu_files(), libtpu, cuda, expected),
    *check_sound(),
    check_buckets(needed=bool(tpu_files())),
    *(check_disk(name, path) for name, path in _folders().items()),
    check_files(),
    *check_environment(),
  ]


def check_accelerator(tpus: Sequence[str], libtpu: bool, cuda: bool, expected: str = "") -> Finding:
  """The accelerator, and whether JAX can use it.

  Args:
    tpus: device files.
    libtpu, cuda: whether JAX's packages for them are installed.
    expected: tpu or gpu, which must be there; empty: none need be.
  """
  name = "accelerator"
  if tpus and expected != "gpu":
    return _check_tpu(name, tpus, libtpu)
  try:
    gpus = find_gpus()
  except OSError as error:
    remedy = "repair the driver: sudo nvidia-smi, or reboot after an update of it"
    return Finding(name=name, status="error", said=str(error), remedy=remedy)
  if gpus and expected != "tpu":
    return _check_gpus(name, gpus, cuda)
  if expected:
    missing = {"tpu": "no TPU chips (/dev/accel*, /dev/vfio/*)", "gpu": "no GPU (nvidia-smi)"}
    remedy = "run this on a worker of the slice, or recreate the machine"
    return Finding(name=name, status="error", said=missing[expected], remedy=remedy)
  return Finding(name=name, status="ok", said="none on this machine: JAX computes on the CPU")


def _check_tpu(name: str, tpus: Sequence[str], libtpu: bool) -> Finding:
  said = f"{len(tpus)} TPU chips ({tpus[0]} ...)"
  if not libtpu:
    remedy = "install the extra: setup/setup_tpu_worker.sh"
    return Finding(name=name, status="error", said=f"{said}, but no libtpu", remedy=remedy)
  if busy := holders(tpus):
    remedy = "wait for its end or stop it: one process at a time has the chips"
    return Finding(
      name=name, status="error", said=f"{said} in use by {', '.join(busy)}", remedy=remedy
    )
  if os.path.exists(_LOCK) and not os.access(_LOCK, os.W_OK):
    remedy = f"if nothing of theirs runs (sudo lsof {tpus[0]}): sudo rm {_LOCK}"
    return Finding(name=name, status="error", said=f"{_LOCK} is another user's", remedy=remedy)
  return Finding(name=name, status="ok", said=said)


def _check_gpus(name: str, gpus: Sequence[Gpu], cuda: bool) -> Finding:
  first = gpus[0]
  said = f"{len(gpus)} x {first.name}, {first.memory / 1024:.0f} GiB, driver {first.driver}"
  if not cuda:
    remedy = "install the extra: setup/setup_cuda_worker.sh"
    return Finding(name=name, status="error", said=f"{said}, but JAX has no CUDA", remedy=remedy)
  driver = tuple(int(part) for part in first.driver.split(".") if part.isdigit())
  if driver < DRIVER:
    remedy = f"install a driver of {'.'.join(map(str, DRIVER))} or newer, which CUDA 12 needs"
    return Finding(name=name, status="error", said=f"{said} is too old", remedy=remedy)
  return Finding(name=name, status="ok", said=said)


def check_sound() -> list[Finding]:
  """The libraries that read sound files."""
  found = []
  for module, kinds in (("soundfile", "WAV, FLAC, MP3, OGG"), ("av", "AAC, M4A, WebM")):
    try:
      importlib.import_module(module)
    except (ImportError, OSError) as error:
      said = f"{module} cannot be imported: {' '.join(str(error).split())[:200]}"
      remedy = f"install it again: pip install --force-reinstall {module}"
      found.append(Finding(name="sound", status="error", said=said, remedy=remedy))
    else:
      found.append(Finding(name="sound", status="ok", said=f"{module} reads {kinds}"))
  return found


def check_buckets(*, needed: bool) -> Finding:
  """Support of gs://, without which a pod has no data."""
  if _installed("gcsfs"):
    return Finding(name="gs://", status="ok", said="gcsfs is installed")
  remedy = "install the extra: setup/install.sh gcs"
  status: Status = "error" if needed else "warning"
  return Finding(name="gs://", status=status, said="gcsfs is not installed", remedy=remedy)


def _folders() -> dict[str, str]:
  return {"disk of this folder": os.getcwd(), "disk of compiled programs": cache_folder()}


def check_disk(name: str, path: str) -> Finding:
  """Room on the disk of a folder, which need not be there yet, and whether it can be written."""
  while not os.path.exists(path):
    path = os.path.dirname(path)
  free = shutil.disk_usage(path).free
  said = f"{free / 2**30:.1f} GiB free at {path}"
  if not os.access(path, os.W_OK):
    remedy = "go to another folder, or set XDG_CACHE_HOME"
    return Finding(name=name, status="error", said=f"{path} cannot be written", remedy=remedy)
  remedy = "remove what is not needed, or use a larger disk"
  if free < _DISK_LEAST:
    return Finding(name=name, status="error", said=said, remedy=remedy)
  if free < _DISK:
    return Finding(name=name, status="warning", said=said, remedy=remedy)
  return Finding(name=name, status="ok", said=said)


def check_files() -> Finding:
  """The limit of open files."""
  soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  if soft == resource.RLIM_INFINITY or soft >= OPEN_FILES:
    return Finding(name="open files", status="ok", said=f"up to {soft}")
  most = 65536 if hard == resource.RLIM_INFINITY else hard
  return Finding(
    name="open files",
    status="warning",
    said=f"up to {soft}, expected {OPEN_FILES} for corpora of many shards",
    remedy=f"ulimit -n {min(65536, most)}",
  )


def check_environment() -> list[Finding]:
  """Variables that keep JAX from the accelerator, or make it wait for machines that are gone."""
  found = []
  chosen = os.environ.get("JAX_PLATFORMS", "")
  if chosen and tpu_files() and "tpu" not in chosen:
    said = f"JAX_PLATFORMS={chosen} keeps JAX off the TPU"
    found.append(
      Finding(name="environment", status="warning", said=said, remedy="unset JAX_PLATFORMS")
    )
  if stale := sorted(name for name in os.environ if name.startswith(_STALE)):
    said = f"{', '.join(stale)}: of a run on several slices; JAX waits for them"
    remedy = f"outside of such a run: unset {' '.join(stale)}"
    found.append(Finding(name="environment", status="warning", said=said, remedy=remedy))
  return found


def _installed(module: str) -> bool:
  return importlib.util.find_spec(module) is not None
