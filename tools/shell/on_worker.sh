#!/usr/bin/env bash
# Runs `maxtext-ext` of the copy of the code in the current folder, on a worker of a pod.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: bash tools/shell/on_worker.sh [--first] COMMAND [ARGUMENT...]

  --first  do it on the first worker of the first slice alone; the others succeed at once
TEXT
}

case "${1:-}" in
  -h | --help) usage; exit 0 ;;
  "") usage >&2; exit 2 ;;
  --first)
    [ "${MULTIHOST_SLICE:-0}:${MULTIHOST_WORKER:-0}" = 0:0 ] || exit 0
    shift
    ;;
esac
# shellcheck source=tools/shell/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
exec_maxtext_ext "$@"
