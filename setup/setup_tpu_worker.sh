#!/usr/bin/env bash
# Sets up a worker of a TPU slice: Python 3.12, the environment ~/venv-maxtext, the code at ~/maxtext.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: setup/setup_tpu_worker.sh [--skip-doctor]

Runs on each worker, from the code that was copied there: makes ~/venv-maxtext with the extra `tpu`,
lets ~/maxtext lead to this code, and ends with `maxtext-ext doctor`, whose exit status it has. Safe
to run again after whatever stopped it; does nothing when all is there.
  --skip-doctor  do not try the chips, as before a command that takes them
  PYTHON         environment: the Python to use; otherwise one is looked for, or fetched
  VENV           environment: instead of ~/venv-maxtext
On all workers of a pod, from the jumpbox:
  python3 tools/orchestration/multihost_runner.py --TPU_PREFIX=NAME --INTERNAL_IP=true \
    --RUN_NAME=maxtext --COMMAND='bash setup/setup_tpu_worker.sh'
TEXT
}

# shellcheck source=setup/worker.sh
source "$(dirname "${BASH_SOURCE[0]}")/worker.sh"

main() {
  local skip_doctor=no
  case "${1:-}" in
    "") ;;
    -h | --help) usage; exit 0 ;;
    --skip-doctor) skip_doctor=yes ;;
    *) usage >&2; exit 2 ;;
  esac
  [ $# -le 1 ] || { usage >&2; exit 2; }
  case "$(uname -s)-$(uname -m)" in
    Linux-x86_64) ;;
    *) die "this is $(uname -s) on $(uname -m); libtpu exists for Linux on x86_64 alone" ;;
  esac
  link_code
  ensure_python
  install_and_check tpu "$skip_doctor" tpu
}

main "$@"
