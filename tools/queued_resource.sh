#!/usr/bin/env bash
# Requests a TPU slice through a queued resource, waits for it, shows it, or deletes it.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tools/queued_resource.sh create|wait|describe|delete [NAME] [OPTION...]

  create    put a request into the queue: ACCELERATOR_TYPE in ZONE, on demand, or SPOT=true
  wait      wait until its machines can be used; --QUEUE_TIMEOUT_SECS=S --CANCEL_ON_TIMEOUT=true
  describe  print its state and that of its machines
  delete    delete it with its machines, and wait until they are gone
  NAME      of the queued resource and of the TPU; default: TPU_NAME, else qr-v4-32
  --dry-run print the command, and do nothing
Other options go to tools/orchestration/queued_resource.py: its ACTION --help lists them.
Settings are in env_vars.sh; each may be given in the environment.
TEXT
}

# shellcheck source=tools/shell/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/shell/common.sh"
name="${TPU_NAME:-qr-v4-32}"
action=""
options=()
named=no
for word in "$@"; do
  case "$word" in
    -h | --help) usage; exit 0 ;;
    --dry-run | --DRY_RUN) dry_run=yes ;;
    -*) options+=("$word") ;;
    *)
      if [ -z "$action" ]; then
        action="$word"
      elif [ "$named" = no ]; then
        name="$word" named=yes
      else
        die "$word: expected one NAME, and options as --NAME=VALUE"
      fi
      ;;
  esac
done
case "$action" in
  create | wait | describe | delete) ;;
  *) usage >&2; exit 2 ;;
esac

words=(python3 "$root/tools/orchestration/queued_resource.py" "$action" "$name")
[ -z "$PROJECT" ] || words+=("--PROJECT=$PROJECT")
words+=("--ZONE=$ZONE")
show "queued resource: $name, zone $ZONE, project ${PROJECT:-of the gcloud configuration}"
if [ "$action" = create ]; then
  words+=("--ACCELERATOR_TYPE=$ACCELERATOR_TYPE" "--RUNTIME_VERSION=$RUNTIME_VERSION" "--SPOT=$SPOT")
  show "type: $ACCELERATOR_TYPE, $RUNTIME_VERSION, spot: $SPOT"
fi
words+=(${options[@]+"${options[@]}"})
show "command: $(quoted "${words[@]}")"
[ "$dry_run" = no ] || exit 0
exec "${words[@]}"
