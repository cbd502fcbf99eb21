#!/usr/bin/env bash
# Converts the splits of a corpus, one after the other, on the pod or on this machine.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: data/convert_data.sh SOURCE OUT [OPTION...]

Converts SOURCE/train, SOURCE/validation and SOURCE/test to ArrayRecord shards in OUT. Run it again
to go on where it was broken off; what is complete is not done again.
  SOURCE, OUT  folders, local or gs://; without both they are SOURCE_DIR and DATA_DIR
  OPTION       goes to `maxtext-ext data convert`: --audio pcm16, --language Hebrew, --overwrite ...
  FORMAT       environment: tfrecord (default), jsonl, parquet or tar
  SPLITS       environment: the splits that must be there. Default: those of train, validation and
               test that are; for gs:// all three
  WORKERS      environment: processes. Default: one a core
Of a pod, its first worker does it, with all its cores.
TEXT
  common_usage
  cat <<'TEXT'
Example:
  WORKERS=8 data/convert_data.sh gs://bucket/tf gs://bucket/arrayrecord --audio pcm16
TEXT
}

# shellcheck source=tools/shell/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../tools/shell/common.sh"
read_options "$@"
case "${arguments[0]:---}" in # no SOURCE
  -*)
    [ -z "$SOURCE_DIR" ] || [ -z "$DATA_DIR" ] \
      || arguments=("$SOURCE_DIR" "$DATA_DIR" ${arguments[@]+"${arguments[@]}"})
    ;;
esac
if [ ${#arguments[@]} -lt 2 ]; then
  usage >&2
  exit 2
fi
source="${arguments[0]%/}"
out="${arguments[1]%/}"
options=("${arguments[@]:2}")
export FORMAT="${FORMAT:-tfrecord}"

if [ -n "$TPU_NAME" ]; then
  show_pod
  show "source: $source" "out: $out" "format: $FORMAT" "splits: ${SPLITS:-those that are there}"
  for folder in "$source" "$out"; do
    case "$folder" in
      *://*) ;;
      *) say "note: $folder is taken to be on the first worker alone" ;;
    esac
  done
  # The settings of this machine, and no pod.
  words=(TPU_NAME= "FORMAT=$FORMAT" "SPLITS=$SPLITS" "WORKERS=${WORKERS:-}")
  on_pod 0 "data-$(basename "$out")" \
    "env $(quoted "${words[@]}") bash data/convert_data.sh $(quoted "$source" "$out" ${options[@]+"${options[@]}"})"
fi

splits="$SPLITS"
if [ -z "$splits" ]; then
  case "$source" in
    *://*) splits="train validation test" ;;
    *)
      for split in train validation test; do
        if [ -d "$source/$split" ]; then splits+=" $split"; fi
      done
      ;;
  esac
fi
[ -n "$splits" ] || die "$source: no folder train, validation or test; name others in SPLITS"

show_pod
for split in $splits; do
  show "$source/$split -> $out"
  words=(data convert "$source/$split" "$out" --from "$FORMAT" --split "$split"
    --workers "${WORKERS:-$(getconf _NPROCESSORS_ONLN)}" ${options[@]+"${options[@]}"})
  show "command: maxtext-ext $(quoted "${words[@]}")"
  [ "$dry_run" = yes ] || maxtext_ext "${words[@]}"
done
