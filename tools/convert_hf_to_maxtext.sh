#!/usr/bin/env bash
# Converts a Hugging Face checkpoint to MaxText's layout; a wrapper of `maxtext-ext convert`.
set -euo pipefail

if [ $# -lt 2 ]; then
  cat >&2 <<'TEXT'
usage: tools/convert_hf_to_maxtext.sh SOURCE OUT [--dtype float32|bfloat16] [--no-scan-layers]

  SOURCE   a folder with config.json and safetensors, or an id such as Qwen/Qwen3-ASR-1.7B
  OUT      the new folder: local, or gs://bucket/checkpoints/qwen3-asr-1.7b
Then: maxtext-ext train CONFIG model_name=OUT load_parameters_path=OUT
TEXT
  exit 2
fi

# Conversion needs no accelerator, and must not take one from a running job.
export JAX_PLATFORMS=cpu
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="$root/.venv/bin/python"
[ -x "$python" ] || python=python3
exec "$python" -m maxtext_ext.cli convert to-maxtext "$@"
