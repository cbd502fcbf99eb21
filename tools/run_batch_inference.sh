#!/usr/bin/env bash
# Transcribes and scores several splits of several corpora, on the pod or on this machine.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tools/run_batch_inference.sh [OPTION...] [CONFIG.yml] [KEY=VALUE...]

Decodes SPLITS (environment; default: validation test) of DATA_DIR on all workers, one after the
other, then scores each on the first worker. What is there is not decoded again; replace_output=true
does so, after more training. With the run's folder, or OUTPUT_DIR, as OUT:
  OUT/decoded/SPLIT              transcripts; of --data DIR: OUT/decoded/NAME/SPLIT, NAME as of DIR
  OUT/decoded/SPLIT.html, .json  word and character error rates
  --data=DIR         another corpus than DATA_DIR; may be given several times
TEXT
  common_usage
}

# shellcheck source=tools/shell/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/shell/common.sh"

corpora=()
words=()
for word in "$@"; do
  case "$word" in
    --data=?*) corpora+=("${word#--data=}") ;;
    --data*) die "$word: expected --data=DIR" ;;
    *) words+=("$word") ;;
  esac
done
read_options ${words[@]+"${words[@]}"}
read_config
for key in split output; do
  [ -z "$(value_of "$key")" ] || die "$key=...: give SPLITS and OUTPUT_DIR in the environment instead"
done
[ -z "$(value_of decode_input)" ] || die "decode_input=...: use tools/inference_multihost.sh"
[ ${#corpora[@]} = 0 ] || [ -z "$(value_of data_dir)" ] || die "--data and data_dir=...: give one"
add_settings
[ ${#corpora[@]} != 0 ] || add_data "$DATA_DIR"
out="$(value_of base_output_directory)"
out="${OUTPUT_DIR:-${out:-out/runs}/$run}/decoded"
show_run
show "splits: ${SPLITS:=validation test}" "transcripts and scores: $out"

steps=()
# Adds the steps of a split, which go to a folder ($2) and have keys of their own.
add_split() {
  local split="$1" folder="$2"
  shift 2
  steps+=(
    "$(quoted decode "$CONFIG" ${arguments[@]+"${arguments[@]}"} "$@" "split=$split" "output=$folder")"
    "$(quoted --first evaluate "$folder" --report "$folder.html")"
  )
}
for split in $SPLITS; do
  [ ${#corpora[@]} != 0 ] || add_split "$split" "$out/$split"
  for corpus in ${corpora[@]+"${corpora[@]}"}; do
    add_split "$split" "$out/$(basename "$corpus")/$split" "data_dir=$corpus" "mixture=[]"
  done
done

if [ -n "$TPU_NAME" ]; then
  command="$(printf ' && bash tools/shell/on_worker.sh %s' "${steps[@]}")"
  on_pod all "batch-$run" "${command# && }"
fi
for step in "${steps[@]}"; do
  show "command: maxtext-ext ${step#--first }"
  [ "$dry_run" = yes ] || eval "bash $(quoted "$root/tools/shell/on_worker.sh") $step"
done
