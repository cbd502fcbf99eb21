"""This machine: its accelerator, and where compiled programs are kept."""

import glob
import os

# The value of `hardware` and `jax_cache_dir` that has them found out.
AUTO = "auto"


def detect_hardware() -> str:
  """tpu, gpu or cpu.

  Asking JAX would start its backend, which must not happen before jax.distributed is up.
  """
  platforms = os.environ.get("JAX_PLATFORMS", "").split(",")[0].strip().lower()
  if platforms:
    return {"cuda": "gpu", "rocm": "gpu"}.get(platforms, platforms)
  if glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*"):
    return "tpu"
  return "gpu" if os.path.exists("/dev/nvidia0") else "cpu"


def cache_folder() -> str:
  """The user's folder for compiled programs: $XDG_CACHE_HOME/maxtext_ext/jax."""
  chosen = os.environ.get("XDG_CACHE_HOME", "")
  root = chosen if os.path.isabs(chosen) else os.path.join(os.path.expanduser("~"), ".cache")
  return os.path.join(root, "maxtext_ext", "jax")
