#!/usr/bin/env bash
# Transcribes a split, a JSONL file or a folder of sound on all workers of the pod, or on this
# machine when no pod is named.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tools/inference_multihost.sh [OPTION...] [CONFIG.yml] [KEY=VALUE...]

Decodes split=test, or another that is given, or decode_input=JSONL_OR_FOLDER, with the best
checkpoint of the run; the workers share the clips. Transcripts go to the folder of the run,
decoded/SPLIT, or to output=FOLDER. What is there is not decoded again: the same command continues,
and several slices may work on one output=gs://... Model, run and corpus are those of tools/train.sh
with the same arguments.
TEXT
  common_usage
}

# shellcheck source=tools/shell/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/shell/common.sh"
read_options "$@"
read_config
add_settings
if [ -z "$(value_of decode_input)" ]; then
  add_data "$DATA_DIR"
  add_key split test
fi
show_run
on_pod_or_here "decode-$run" decode "$CONFIG" ${arguments[@]+"${arguments[@]}"}
