#!/usr/bin/env bash
# Trains on the pod, or on this machine when no pod is named.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tools/train.sh [OPTION...] [CONFIG.yml] [KEY=VALUE...]

Trains what CONFIG describes, from the latest checkpoint of the run when there is one. With
CHECKPOINT_DIR the model is CHECKPOINT_DIR/MODEL_NAME and the run goes to CHECKPOINT_DIR; with
DATA_DIR that corpus is read. A KEY=VALUE wins.
TEXT
  common_usage
}

# shellcheck source=tools/shell/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/shell/common.sh"
read_options "$@"
read_config
add_settings
add_data "$DATA_DIR"
show_run
on_pod_or_here "train-$run" train "$CONFIG" ${arguments[@]+"${arguments[@]}"}
