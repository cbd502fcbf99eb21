#!/usr/bin/env bash
# Converts a Hugging Face checkpoint to MaxText's layout, on the pod or on this machine.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tools/convert_hf_to_maxtext.sh SOURCE OUT [--dtype float32|bfloat16] [--no-scan-layers]

  SOURCE   a folder with config.json and safetensors, or an id such as Qwen/Qwen3-ASR-1.7B
  OUT      the new folder: local, or gs://bucket/checkpoints/qwen3-asr-1.7b
Without both they are HF_MODEL and CHECKPOINT_DIR/MODEL_NAME (without CHECKPOINT_DIR: checkpoints/).
Of a pod, its first worker does it; a token for the hub (HF_TOKEN) reaches it on no command line.
Then: maxtext-ext train CONFIG model_name=OUT load_parameters_path=OUT
TEXT
  common_usage
}

# shellcheck source=tools/shell/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/shell/common.sh"
read_options "$@"
case "${arguments[0]:---}" in # no SOURCE
  -*)
    [ -n "$MODEL_NAME" ] || die "MODEL_NAME is empty: give SOURCE and OUT"
    arguments=("$HF_MODEL" "${CHECKPOINT_DIR:-checkpoints}/$MODEL_NAME" ${arguments[@]+"${arguments[@]}"})
    ;;
esac
if [ ${#arguments[@]} -lt 2 ]; then
  usage >&2
  exit 2
fi

# Conversion needs no accelerator, and must not take one from a running job.
export JAX_PLATFORMS=cpu
show_pod
show "source: ${arguments[0]}" "out: ${arguments[1]}"
if [ -n "$TPU_NAME" ]; then
  case "${arguments[1]}" in
    *://*) ;;
    *) say "note: ${arguments[1]} will be on the first worker alone; the others read from gs://" ;;
  esac
  on_pod 0 "convert-$(basename "${arguments[1]}")" \
    "JAX_PLATFORMS=cpu bash tools/shell/on_worker.sh $(quoted convert to-maxtext "${arguments[@]}")"
fi
on_pod_or_here convert convert to-maxtext "${arguments[@]}"
