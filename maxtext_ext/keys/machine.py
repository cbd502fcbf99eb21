"""Machine detection: the accelerator, XLA's flags, and the cache folder of compiled programs."""

import glob
import importlib.util
import os
import platform

from maxtext_ext.files.user_cache import user_cache

# The value of `hardware` and `jax_cache_dir` that asks for detection.
AUTO = "auto"


def detect_hardware() -> str:
  """Returns tpu, gpu or cpu.

  Asking JAX would start its backend, which must not happen before jax.distributed is up.
  """
  platforms = os.environ.get("JAX_PLATFORMS", "").split(",")[0].strip().lower()
  if platforms:
    return {"cuda": "gpu", "rocm": "gpu"}.get(platforms, platforms)
  # A device counts where the extra for it is installed: without, JAX runs on the CPU beside it.
  if (glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*")) and _is_installed("libtpu"):
    return "tpu"
  has_cuda = any(_is_installed(f"jax_cuda{version}_plugin") for version in (12, 13))
  return "gpu" if os.path.exists("/dev/nvidia0") and has_cuda else "cpu"


def xla_flags(hardware: str) -> str:
  """Returns XLA's flags for a machine where the user has set none."""
  # Nothing is dumped: MaxText would have every run write its programs to /tmp/xla_dump.
  flags = ["--xla_dump_to="]
  if hardware == "cpu" and platform.machine().lower() in ("x86_64", "amd64"):
    # With AVX-512 XLA unrolls short loops over the slots of the decoder, and rounds otherwise in
    # some: a clip's log-probabilities would depend on its slot. AVX2 is as fast.
    flags.append("--xla_cpu_max_isa=AVX2")
  return " ".join(flags)


def _is_installed(package: str) -> bool:
  return importlib.util.find_spec(package) is not None


def cache_folder() -> str:
  """Returns the folder for compiled programs: JAX's own variable, else one in the user's cache."""
  return os.environ.get("JAX_COMPILATION_CACHE_DIR") or user_cache("jax")
