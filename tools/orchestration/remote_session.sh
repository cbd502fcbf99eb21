#!/usr/bin/env bash
# Runs in the tmux of a session on a GPU host: its command, in a process group of its own, with the
# terminal; the output goes to `log` too, the end to `state`. stat_of and start_time of remote_host.sh
# come before it. Arguments: folders of the session, the code and maxtext-ext.
session="$1" code="$2" bin="$3"

# Written over a word of equal length, because a full disk still has room for that.
set_state() { printf '%-8s\n' "$1" 1<>"$session/state"; }
set_pids() { printf '%s %s %s %s\n' $$ "$(start_time $$)" "$@" >"$session/pids"; }
say() { printf '== %s: %s\n' "$(date '+%Y-%m-%d %H:%M:%S')" "$*" >&"$out"; }

# Zombies do not count: in a container there may be nobody to collect them.
group_lives() {
  local file fields
  for file in /proc/[0-9]*/stat; do
    if stat_of "$file" && [ "${fields[2]}" = "$1" ]; then return 0; fi
  done
  return 1
}

trap : HUP INT TERM  # goes on until the command has ended, and keeps its status
stty susp undef -ixon 2>/dev/null  # Ctrl-Z and Ctrl-S would halt the run unseen
set_pids 0 0
set_state starting
exec {out}> >(trap '' HUP INT TERM; exec tee -a "$session/log")
copier=$!

while IFS= read -r -d '' pair && [ "$pair" != end ]; do export "${pair?}"; done <"$session/environment"
rm -f "$session/environment"
export PATH="$bin:$PATH" PYTHONUNBUFFERED=1 LANG="${LANG:-C.UTF-8}"
command="$(cat "$session/command")"
say "${command#exec }"

# finish STATUS: the end of the session, once the log is complete.
finish() {
  say "ended with status $1"
  exec {out}>&-
  wait "$copier"
  set_state "$1"
  exit
}

if [ "$pair" != end ]; then
  say "error: the connection broke before the environment was here; start again"
  finish 255
fi
cd "$code" || finish 255
set -m  # the command gets a process group, and the terminal with it
(
  trap : HUP INT TERM  # as above: the command's status is kept
  leader=$BASHPID
  set_pids "$leader" "$(start_time "$leader")"
  set_state running
  set +m
  bash "$session/command" {out}>&-
  ended=$?
  printf '%s\n' "$ended" >"$session/status"
  exit "$ended"
) >&"$out" 2>&1
status=$?

# With job control bash also goes on when the group is halted (SIGSTOP and its like): no end yet.
read -r _ _ leader began <"$session/pids"
case "$status" in
  147 | 148 | 149 | 150)
    while [ "$(start_time "$leader")" = "$began" ]; do sleep 0.5; done
    status=137  # the leader too was ended by force, unless it could say more
    ! read -r ended <"$session/status" || status="$ended"
    ;;
esac

# Children that outlive the command would hold the device.
kill -TERM -- "-$leader" 2>/dev/null
for ((tries = 50; tries > 0; tries--)); do
  group_lives "$leader" || break
  sleep 0.2
done
kill -KILL -- "-$leader" 2>/dev/null
finish "$status"
