#!/usr/bin/env bash
# Makes .venv-engines at the root of the repository, with SkyPilot, XPK and Ray.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: setup/install_engines.sh

Installs what `maxtext-ext launch sky|xpk|ray` starts jobs with, in the versions of
setup/engines-constraints.txt, into .venv-engines: they do not go together with the project in one
environment. `launch` finds them there; `launch hf` and --dry-run need none of them.
  PYTHON   the Python to use, 3.12 or newer; otherwise one is looked for
Safe to run again: does nothing when the environment is complete, makes it anew when it is not.
TEXT
}

say() { printf '%s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
venv="$root/.venv-engines"
pins="setup/engines-constraints.txt"
stamp="$venv/installed"  # what the finished installation was made from
log="$venv/install.log"

# The text that the stamp must hold.
wanted() { printf '%s\n' "$root"; cat "$pins"; }

complete() { wanted | cmp -s - "$stamp" && "$venv/bin/python" -c '' 2>/dev/null; }

# Waits for another installation; without flock (macOS) there is no waiting.
take_turn() {
  command -v flock >/dev/null 2>&1 || return 0
  exec 9<"$pins"
  flock -n 9 && return
  say "waiting for another installation into .venv-engines"
  flock 9
}

main() {
  case "${1:-}" in
    "") ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
  ! complete || return 0
  take_turn
  ! complete || return 0

  local python started=$SECONDS
  python="$(setup/install.sh --print-python)"
  say "making .venv-engines with $python (a minute or two)"
  "$python" -m venv --clear "$venv"
  # The pins are the whole set, so nothing is left to be resolved. Of 1.2 GB little is ever imported,
  # which Python compiles then.
  if ! "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off \
    --no-deps --no-compile -r "$pins" >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    die "pip could not install the engines; its whole output is in ${log#"$root"/}"
  fi
  wanted >"$stamp.new"
  mv "$stamp.new" "$stamp"
  say "engines ready in $((SECONDS - started)) s: .venv-engines"
}

main "$@"
