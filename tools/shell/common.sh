# shellcheck shell=bash
# What the scripts of tools/ and data/ share: settings, options, and the way to the pod or to this
# machine. They source it, define `usage`, and call read_options.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
# shellcheck source=env_vars.sh
source "$root/env_vars.sh"

dry_run=no
runner_flags=() # for multihost_runner.py
arguments=()    # what is left of the command line

say() { printf '%s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 2; }

# The lines about options that all scripts have, for their usage.
common_usage() {
  cat <<'TEXT'
  --dry-run          print what would run where, and do nothing
  With a pod (TPU_NAME), on all its workers:
  --detach           go on in tmux, also when this connection ends
  --restarts=N       start again after a failure, at most N times
  --preemptions=M    request the slice again when it was preempted, at most M times
  --TIMEOUT_SECS=S   and other flags of tools/orchestration/multihost_runner.py in capitals
Settings are in env_vars.sh; each may be given in the environment.
TEXT
}

# Sorts the command line into dry_run, runner_flags and arguments.
read_options() {
  while [ $# -gt 0 ]; do
    case "$1" in
      -h | --help) usage; exit 0 ;;
      --dry-run | --DRY_RUN) dry_run=yes ;;
      --detach | --DETACH) runner_flags+=(--detach) ;;
      --restarts | --preemptions)
        [ $# -gt 1 ] || die "$1: expected a number after it"
        add_budget "$1" "$2"
        shift
        ;;
      --restarts=* | --preemptions=*) add_budget "${1%%=*}" "${1#*=}" ;;
      --[[:upper:]]*=*) runner_flags+=("$1") ;;
      --) shift; arguments+=("$@"); break ;;
      *) arguments+=("$1") ;;
    esac
    shift
  done
  case "$BUCKET" in */) die "BUCKET=$BUCKET: expected no slash at its end" ;; esac
  if [ -z "$TPU_NAME" ] && [ ${#runner_flags[@]} != 0 ]; then
    die "${runner_flags[0]} is for a pod: export TPU_NAME=NAME"
  fi
}

add_budget() {
  case "$2" in "" | *[!0-9]*) die "$1=$2: expected a number" ;; esac
  runner_flags+=("$1=$2")
}

# Takes CONFIG out of the arguments, if one is there, and leaves KEY=VALUE; sets run.
read_config() {
  local argument keys=()
  for argument in ${arguments[@]+"${arguments[@]}"}; do
    case "$argument" in
      *=*) keys+=("$argument") ;;
      *.yml) CONFIG="$argument" ;;
      *) die "$argument: expected CONFIG.yml, KEY=VALUE or an option (see --help)" ;;
    esac
  done
  arguments=(${keys[@]+"${keys[@]}"})
  run="$(value_of run_name)"
  run="${run:-$RUN_NAME}"
  run="${run:-$(basename "$CONFIG" .yml)}"
  [ -n "$TPU_NAME" ] || return 0
  CONFIG="$(in_repository "$CONFIG")"
  case "$CHECKPOINT_DIR$(value_of base_output_directory)" in
    *://*) ;;
    *) say "note: each worker has its own folder for the run: set BUCKET, or base_output_directory=gs://" ;;
  esac
}

# The path of a file from the root of the repository; git must track it, else no worker gets it.
in_repository() {
  local path="$1"
  [ ! -f "$path" ] || path="$(cd "$(dirname "$path")" && pwd)/$(basename "$path")"
  path="${path#"$root"/}"
  [ -f "$root/$path" ] || die "$1: no such file below $root, which is what the workers get"
  if git -C "$root" rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    git -C "$root" ls-files --error-unmatch -- "$path" >/dev/null 2>&1 \
      || die "$path: git does not track it, so no worker gets it: git add $path"
  fi
  printf '%s\n' "$path"
}

# The value of a key among the arguments; empty: it is not there.
value_of() {
  local argument
  for argument in ${arguments[@]+"${arguments[@]}"}; do
    case "$argument" in "$1="*) printf '%s\n' "${argument#*=}" ;; esac
  done
}

# Adds a KEY=VALUE to the arguments, unless the key is there or the value is empty.
add_key() {
  local argument
  [ -n "$2" ] || return 0
  for argument in ${arguments[@]+"${arguments[@]}"}; do
    case "$argument" in "$1="*) return 0 ;; esac
  done
  arguments+=("$1=$2")
}

# Adds the keys that the settings stand for.
add_settings() {
  local model=""
  add_key run_name "$RUN_NAME"
  add_key base_output_directory "$CHECKPOINT_DIR"
  if [ -n "$CHECKPOINT_DIR" ] && [ -n "$MODEL_NAME" ]; then model="$CHECKPOINT_DIR/$MODEL_NAME"; fi
  if [ -z "$(value_of model_name)" ]; then
    add_key model_name "$model"
    add_key tokenizer_path "$model"
    add_key load_parameters_path "$model"
  fi
}

# Adds the keys of a corpus, which takes the place of a mixture in CONFIG.
add_data() {
  [ -n "$1" ] && [ -z "$(value_of data_dir)" ] || return 0
  add_key data_dir "$1"
  add_key mixture "[]"
}

# Prints the settings; on standard output if that is all that is done.
show() {
  local target=2 line
  [ "$dry_run" = no ] || target=1
  for line in "$@"; do printf '%s\n' "$line" >&"$target"; done
}

show_pod() {
  if [ -z "$TPU_NAME" ]; then
    show "pod: none, on this machine"
  else
    show "pod: $TPU_NAME, zone $ZONE, project ${PROJECT:-of the gcloud configuration}"
  fi
}

show_run() {
  show_pod
  show "config: $CONFIG" "run: $run" "keys: $(quoted ${arguments[@]+"${arguments[@]}"})"
}

# Words for bash, on one line; those with more than plain letters in single quotes.
quoted() {
  local word words="" escaped="'\\''"
  for word in "$@"; do
    case "$word" in
      "" | *[!A-Za-z0-9_%+=:,./@-]*) words+=" '${word//\'/"$escaped"}'" ;;
      *) words+=" $word" ;;
    esac
  done
  printf '%s\n' "${words# }"
}

# The Python that the project is installed in.
find_python() {
  local candidate
  for candidate in ${VIRTUAL_ENV:+"$VIRTUAL_ENV/bin/python"} "$root/.venv/bin/python" \
    "$HOME/venv-maxtext/bin/python" python3; do
    if "$candidate" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("maxtext") is None)' \
      >/dev/null 2>&1; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  die "the project is not installed here: run setup/install.sh, or on a worker setup/setup_tpu_worker.sh"
}

# Runs `maxtext-ext` on this machine: of the current folder, where that is a copy of the code.
maxtext_ext() {
  local python
  python="$(find_python)"
  "$python" -m maxtext_ext.cli "$@"
}

# Becomes it, so that signals reach it.
exec_maxtext_ext() {
  local python
  python="$(find_python)"
  exec "$python" -m maxtext_ext.cli "$@"
}

# Runs a command of bash on the workers ($1: all, or 0) as a job of a name ($2).
on_pod() {
  local workers="$1" name="$2" command="$3" words flag
  name="$(LC_ALL=C tr -c 'A-Za-z0-9_.\n' - <<<"$name")"
  words=(python3 "$root/tools/orchestration/multihost_runner.py" "--TPU_PREFIX=$TPU_NAME")
  [ -z "$PROJECT" ] || words+=("--PROJECT=$PROJECT")
  words+=("--ZONE=$ZONE" "--INTERNAL_IP=$INTERNAL_IP" "--SCRIPT_DIR=$root" "--RUN_NAME=${name#-}")
  [ "$workers" = all ] || words+=("--WORKER=$workers")
  [ -z "${HF_TOKEN:-}" ] || words+=(--ENV=HF_TOKEN)
  for flag in ${runner_flags[@]+"${runner_flags[@]}"}; do
    case "$flag" in # a slice that is made anew is bare
      --preemptions=*) words+=("--SETUP_COMMAND=bash setup/setup_tpu_worker.sh --skip-doctor") ;;
    esac
  done
  words+=(${runner_flags[@]+"${runner_flags[@]}"} "--COMMAND=$command")
  show "command: $(quoted "${words[@]}")"
  [ "$dry_run" = no ] || exit 0
  exec "${words[@]}"
}

# Runs `maxtext-ext` with these arguments: on all workers of the pod, or here.
on_pod_or_here() {
  local name="$1"
  shift
  [ -z "$TPU_NAME" ] || on_pod all "$name" "bash tools/shell/on_worker.sh $(quoted "$@")"
  show "command: maxtext-ext $(quoted "$@")"
  [ "$dry_run" = no ] || exit 0
  exec_maxtext_ext "$@"
}
