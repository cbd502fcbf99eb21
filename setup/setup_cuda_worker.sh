#!/usr/bin/env bash
# Sets up a machine with NVIDIA GPUs: the environment ~/venv-maxtext, the code at ~/maxtext.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: setup/setup_cuda_worker.sh [--system-python | --own-python] [--skip-doctor]

Checks the driver, makes ~/venv-maxtext with the extra `cuda12`, lets ~/maxtext lead to this code, and
ends with `maxtext-ext doctor`, whose exit status it has. Safe to run again after whatever stopped it.
A Python of 3.12 or newer that brings JAX for CUDA is reused: the environment sees its packages, and
that Python stays as it is.
  --system-python  reuse the packages of python3, or of PYTHON, whatever they are
  --own-python     reuse none
  --skip-doctor    do not try the GPUs
  PYTHON           environment: the Python to use; otherwise one is looked for, or fetched
  VENV             environment: instead of ~/venv-maxtext
TEXT
}

# shellcheck source=setup/worker.sh
source "$(dirname "${BASH_SOURCE[0]}")/worker.sh"
oldest_driver="525.60.13"  # that CUDA 12 runs on; the wheels bring CUDA itself

# Whether version $1 is $2 or newer.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

check_driver() {
  local said driver
  command -v nvidia-smi >/dev/null 2>&1 \
    || die "no nvidia-smi, so no NVIDIA driver: choose an image with one, or sudo apt install nvidia-driver-550"
  said="$(nvidia-smi --query-gpu=driver_version,name --format=csv,noheader 2>&1)" \
    || die "nvidia-smi failed: $(head -n 1 <<<"$said"); mend the driver first"
  driver="$(head -n 1 <<<"$said" | cut -d , -f 1)"
  case "$driver" in
    [0-9]*.[0-9]*) ;;
    *) die "nvidia-smi said \"$(head -n 1 <<<"$said")\", expected the version of a driver: no GPU here?" ;;
  esac
  at_least "$driver" "$oldest_driver" \
    || die "driver $driver is too old, CUDA 12 needs $oldest_driver or newer: update the driver"
  say "driver $driver,$(head -n 1 <<<"$said" | cut -d , -f 2-) x $(wc -l <<<"$said" | tr -d ' ')"
}

# Prints the version of Python $1 if it is new enough, is no environment, and brings JAX for CUDA
# (with $2 = any: whatever it brings).
brings_cuda() {
  "$1" - "$2" 2>/dev/null <<'PY'
import importlib.metadata, sys

def there(name):
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return ""

jax = next(filter(None, map(there, ("jax-cuda12-plugin", "jax-cuda13-plugin"))), "")
usable = sys.version_info >= (3, 12) and sys.prefix == sys.base_prefix
if not usable or (sys.argv[1] != "any" and not jax):
  sys.exit(1)
print(f"Python {sys.version_info[0]}.{sys.version_info[1]}, JAX for CUDA {jax or 'none'}")
PY
}

# Chooses the Python whose packages are reused, if there is one.
choose_python() {
  local mode="$1" candidate found
  [ "$mode" != own ] || return 0
  for candidate in ${PYTHON:+"$PYTHON"} python3.12 python3.13 python3; do
    command -v "$candidate" >/dev/null 2>&1 || continue
    if found="$(brings_cuda "$candidate" "$mode")"; then
      PYTHON="$(command -v "$candidate")"
      say "reusing the packages of $PYTHON ($found)"
      export PYTHON SYSTEM_PACKAGES=1
      case "$found" in *"CUDA none") ;; *) extra=none ;; esac
      return
    fi
  done
  [ "$mode" != any ] || die "--system-python: no python3 of 3.12 or newer outside of environments; leave it out"
}

main() {
  local skip_doctor=no mode=detect extra=cuda12
  while [ $# -gt 0 ]; do
    case "$1" in
      -h | --help) usage; exit 0 ;;
      --system-python) mode=any ;;
      --own-python) mode=own ;;
      --skip-doctor) skip_doctor=yes ;;
      *) usage >&2; exit 2 ;;
    esac
    shift
  done
  check_driver
  link_code
  choose_python "$mode"
  ensure_python
  install_and_check "$extra" "$skip_doctor" gpu
}

main "$@"
