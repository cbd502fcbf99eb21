#!/usr/bin/env bash
# Converts the splits of a corpus, one after the other.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: data/convert_data.sh SOURCE OUT [OPTION...]

Converts SOURCE/train, SOURCE/validation and SOURCE/test to ArrayRecord shards in OUT. Run it again
to go on where it was broken off; what is complete is not done again.
  SOURCE, OUT  folders, local or gs://
  OPTION       goes to `maxtext-ext data convert`: --audio pcm16, --language Hebrew, --overwrite ...
  FORMAT       environment: tfrecord (default), jsonl, parquet or tar
  SPLITS       environment: the splits that must be there. Default: those of train, validation and
               test that are; for gs:// all three
  WORKERS      environment: processes. Default: one a core
Example:
  WORKERS=8 data/convert_data.sh gs://bucket/tf gs://bucket/arrayrecord --audio pcm16
TEXT
}

die() { printf 'error: %s\n' "$*" >&2; exit 2; }

case "${1:-}" in
  -h | --help) usage; exit 0 ;;
esac
if [ $# -lt 2 ]; then
  usage >&2
  exit 2
fi
source="${1%/}"
out="${2%/}"
shift 2
command -v maxtext-ext >/dev/null || die "maxtext-ext is not on PATH; source .venv/bin/activate"

splits="${SPLITS:-}"
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

for split in $splits; do
  printf '%s/%s -> %s\n' "$source" "$split" "$out" >&2
  maxtext-ext data convert "$source/$split" "$out" --from "${FORMAT:-tfrecord}" --split "$split" \
    --workers "${WORKERS:-$(getconf _NPROCESSORS_ONLN)}" "$@"
done
