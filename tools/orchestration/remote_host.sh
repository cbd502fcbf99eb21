#!/usr/bin/env bash
# What tools/remote.py does on a GPU host: sent over ssh to `bash -s -- FUNCTION ARGUMENT...`, so that
# nothing has to be there before. What follows this script on standard input is the function's data.
# Lines for the program begin with "maxtext" and a tab; all else is for people.
# shellcheck disable=SC2329  # functions are called by their name
set -euo pipefail

sessions="$HOME/.maxtext-sessions"

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
need() { command -v "$1" >/dev/null || fail "no $1; $2"; }
report() { printf 'maxtext'; printf '\t%s' "$@"; printf '\n'; }

make_sessions() { mkdir -p "$sessions"; chmod 700 "$sessions"; }

# probe DIR: the folder of the code, and the tools that are there.
probe() {
  local dir="$1" tool
  case "$dir" in
    "") dir="$HOME/maxtext"; [ ! -w /workspace ] || dir=/workspace/maxtext ;;
    \~ | \~/*) dir="$HOME${dir#"~"}" ;;
    /*) ;;
    *) dir="$HOME/$dir" ;;
  esac
  report dir "$dir"
  for tool in tmux rsync tar; do
    if command -v "$tool" >/dev/null; then report has "$tool"; fi
  done
}

# check_status STATUS LOG WHAT: shows the end of the log and fails unless STATUS is 0.
check_status() {
  [ "$1" != 0 ] || return 0
  tail -n 80 "$2" >&2
  fail "$3 ended with status $1; above are the last lines of $2 there"
}

# Installs tmux with apt-get where it is absent, and rsync along with it; tar does as well as rsync.
install_packages() {
  local log="$sessions/packages.log" status=0 admin=()
  ! command -v tmux >/dev/null || return 0
  command -v apt-get >/dev/null \
    || fail "no tmux, nor apt-get to install it; install tmux there by hand"
  [ "$(id -u)" = 0 ] || admin=(sudo -n)
  admin+=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300)
  make_sessions
  # An update may fail for an archive that is not needed here.
  { "${admin[@]}" update || true; "${admin[@]}" install -y tmux rsync; } >"$log" 2>&1 </dev/null || status=$?
  check_status "$status" "$log" "apt-get install tmux rsync"
}

# make_room DIR: renames what stands in the way of the entries on standard input: "d" and a folder,
# or "f" and a file, each ended by NUL, in order. Nothing is deleted.
make_room() {
  local LC_ALL=C entry path there moved  # LC_ALL: names are bytes
  { mkdir -p "$1" && cd "$1"; } || fail "the folder $1 cannot be made; choose another --remote-dir"
  while IFS= read -r -d '' entry; do
    path="./${entry:1}"
    there=""
    [ ! -e "$path" ] && [ ! -L "$path" ] || there=f
    [ ! -d "$path" ] || [ -L "$path" ] || there=d
    if [ -n "$there" ] && [ "${entry:0:1}" != "$there" ]; then
      moved="$path.before-deploy-$(date +%Y%m%d-%H%M%S)"
      mv "$path" "$moved"
      report moved "${path#./}" "${moved#./}"
    fi
  done
}

# unpack DIR: extracts the tar.gz on standard input.
unpack() { need tar "install it, or rsync"; exec tar -xzof - -C "$1"; }

# install_dependencies DIR: silent, until its end: that is what the doctor says. A repeated deploy
# waits for the setup that a broken one left.
install_dependencies() {
  local log="$sessions/dependencies.log" status=0
  cd "$1" || fail "no folder $1; deploy without --skip-sync"
  need flock "install util-linux"
  make_sessions
  exec 9>"$sessions/dependencies.lock"
  flock -w 1800 9 || fail "another setup has been running there for half an hour"
  bash setup/setup_cuda_worker.sh >"$log" 2>&1 </dev/null 9>&- || status=$?
  check_status "$status" "$log" setup/setup_cuda_worker.sh
  tail -n 30 "$log"
}

# stat_of FILE: sets fields to those of a /proc/PID/stat from the state on, of a living process.
stat_of() {
  local text
  { IFS= read -r text <"$1"; } 2>/dev/null || return 1
  # shellcheck disable=SC2206  # numbers and a letter
  fields=(${text##*) })
  [ "${fields[0]}" != Z ]
}

# The time at which process $1 started, which tells it from a later one of the same number.
start_time() { local fields; stat_of "/proc/$1/stat" && printf '%s\n' "${fields[19]}"; }

alive() { [ "$(start_time "$1")" = "$2" ]; }

# load NAME: sets state and, once it has run, the process ids of a session.
load() {
  state="" runner=0 runner_time=0 leader=0 leader_time=0
  session="$sessions/$1"
  [ -f "$session/state" ] || return 1
  read -r state <"$session/state" || true
  [ ! -f "$session/pids" ] || read -r runner runner_time leader leader_time <"$session/pids"
  case "$state" in
    starting | running) alive "$runner" "$runner_time" || alive "$leader" "$leader_time" || state=lost ;;
  esac
}

running() { load "$1" && { [ "$state" = starting ] || [ "$state" = running ]; }; }

# wait_end NAME SECONDS: fails when the session still runs then.
wait_end() {
  local until=$((SECONDS + $2))
  while running "$1"; do
    [ "$SECONDS" -lt "$until" ] || return 1
    sleep 0.2
  done
}

# list: all sessions.
list() {
  local file name started label code shown
  for file in "$sessions"/*/state; do
    name="$(basename "$(dirname "$file")")"
    load "$name" || continue
    IFS=$'\t' read -r started label code <"$session/about"
    shown="$(cat "$session/command")"
    shown="${shown//[$'\t\n\r']/ }"
    report session "$name" "$state" "$started" "$label" "$code" "${shown#exec }"
  done
}

# start NAME CODE CONFIG FORCE GRACE: on standard input, each ended by NUL, the script for the session,
# the command, the environment and "end". The environment goes through a pipe to the command alone:
# no file, argument or tmux has it.
start() {
  local name="$1" code="$2" config="$3" force="$4" grace="$5" session="$sessions/$1"
  local label script command bin program
  need tmux "deploy installs it"
  need flock "install util-linux"
  [ -f "$code/$config" ] || fail "no $config in $code; deploy the code, or check the name"
  for bin in "$HOME/venv-maxtext/bin" "$code/.venv/bin" ""; do
    [ ! -x "$bin/maxtext-ext" ] || break
  done
  if [ -z "$bin" ]; then
    program="$(command -v maxtext-ext)" \
      || fail "maxtext-ext is not installed; deploy without --skip-deps"
    bin="$(dirname "$program")"
  fi
  make_sessions
  mkdir -p "$session"
  exec 9>"$session/lock"
  flock -n 9 || fail "another start of $name is under way"
  if running "$name"; then
    [ "$force" = yes ] || fail "$name runs already; attach to it, stop it, or start with --force"
    stop "$name" "$grace"
  fi
  IFS= read -r -d '' script
  IFS= read -r -d '' command
  label="maxtext-$name-$$"
  rm -f "$session/state" "$session/pids" "$session/environment" "$session/status"
  [ ! -e "$session/log" ] || mv "$session/log" "$session/log.$(date -r "$session/log" +%Y%m%d-%H%M%S.%N)"
  mkfifo -m 600 "$session/environment"
  printf '%s\n' "$command" >"$session/command"
  printf '%s\t%s\t%s\n' "$(date -u +%Y-%m-%dT%H:%M:%S.%N)" "$label" "$code" >"$session/about"
  { declare -f stat_of start_time; printf '%s' "$script"; } >"$session/run"
  tmux -u -L "$label" -f /dev/null start-server \; set-option -g history-limit 50000 \; \
    set-option -g status-left "$name " \; set-option -g status-left-length 70 \; \
    set-option -g status-right " Ctrl-b d leaves the run going" \; \
    new-session -d -s "$name" -n train -x 200 -y 50 \
    bash "$session/run" "$session" "$code" "$bin" </dev/null 9>&-
  # shellcheck disable=SC2016
  timeout 30 bash -c 'cat >"$1"' - "$session/environment" 9>&- \
    || fail "tmux did not start the session; see $session there"
  local until=$((SECONDS + 30))
  until load "$name" && [ "$state" != starting ]; do
    [ "$SECONDS" -lt "$until" ] || fail "the session does not start; see $session there"
    sleep 0.1
  done
}

# stop NAME GRACE: SIGTERM to the session's process group, SIGKILL after GRACE seconds.
stop() {
  local name="$1" grace="$2"
  running "$name" || return 0
  if alive "$leader" "$leader_time"; then
    kill -TERM -- "-$leader" 2>/dev/null || true
    kill -CONT -- "-$leader" 2>/dev/null || true  # what is halted handles nothing
  fi
  wait_end "$name" "$grace" && return
  ! alive "$leader" "$leader_time" || kill -KILL -- "-$leader" 2>/dev/null || true
  wait_end "$name" 30 || fail "process group $leader of $name does not end, not even by SIGKILL"
}

# show NAME OFFSET LINES FOLLOW: the log from byte OFFSET, or its last LINES where that is empty; then
# what is added, until the session ends, with FOLLOW.
show() {
  local name="$1" offset="$2" lines="$3" follow="$4" log="$sessions/$1/log" size
  [ -f "$log" ] || : >>"$log"
  size="$(wc -c <"$log")"
  [ -n "$offset" ] || offset=$((size - $(head -c "$size" "$log" | tail -n "$lines" | wc -c)))
  report log "$offset"
  if [ "$follow" = yes ] && running "$name"; then
    alive "$runner" "$runner_time" || runner="$leader"
    exec tail --pid="$runner" -c "+$((offset + 1))" -f "$log"
  fi
  exec tail -c "+$((offset + 1))" "$log"
}

report reached
"$@"; exit  # in one line, because what follows is data
