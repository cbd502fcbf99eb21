#!/usr/bin/env bash
# Makes an environment, .venv at the root of the repository, and installs the project into it.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: setup/install.sh [EXTRA[,EXTRA...]]
       setup/install.sh --print-python     only show which Python would be used

Installs the project, editable, with the versions of setup/constraints.txt.
  EXTRA    dev, tensorflow, cuda12, tpu, gcs, plan, serve, vad, ctc,
           notebook, real-weights, beam, launch; or `none`.
           Default: dev,tensorflow,beam,gcs,plan.
           They are added to the ones that .venv has already.
  EXTRAS   the same, as an environment variable
  PYTHON   the Python to use, 3.12 or newer; otherwise one is looked for
  VENV     the folder of the environment, instead of .venv
  SYSTEM_PACKAGES=1  use the packages of that Python where their versions will do, such as a JAX for
           its CUDA; what is missing goes into the environment, and nothing into that Python
Safe to run again: does nothing when the environment is complete, repairs it when it is not.
TEXT
}

say() { printf '%s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
venv="${VENV:-$root/.venv}"
case "$venv" in /*) ;; *) venv="$root/$venv" ;; esac
shown="${venv#"$root"/}"
place="$root"  # what the environment belongs to, and cannot be moved from
[ -z "${VENV:-}" ] || place="$venv"
stamp="$venv/installed"  # what the finished installation was made from
unfinished="$venv/installing"  # there as long as pip works: a package that it was killed in is broken
log="$venv/install.log"
constraints="setup/constraints.txt"
system="${SYSTEM_PACKAGES:-0}"

# Why a candidate was passed over, for the message when there is none at all.
rejected=""

# Whether $1 runs, is new enough and can make an environment. A name on PATH proves nothing: a shim
# of pyenv stands there for versions that are not installed.
usable() {
  local version
  command -v "$1" >/dev/null 2>&1 || return 1
  version="$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" || return 1
  case "$version" in
    3.1[2-9] | 3.[2-9][0-9]) ;;
    *) rejected+="  $1 is Python $version"$'\n'; return 1 ;;
  esac
  if ! "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    rejected+="  $1 is Python $version, without venv (Debian: apt install python$version-venv)"$'\n'
    return 1
  fi
}

# Prints the Python to use. 3.12 first: it is the one that the constraints were made with.
find_python() {
  local candidate
  if [ -n "${PYTHON:-}" ]; then
    usable "$PYTHON" || die "PYTHON=$PYTHON is not a Python 3.12 or newer that can make a venv"
    command -v "$PYTHON"
    return
  fi
  for candidate in python3.12 python3.13 python3 python3.14 python; do
    if usable "$candidate"; then command -v "$candidate"; return; fi
  done
  for candidate in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python3; do
    if usable "$candidate"; then printf '%s\n' "$candidate"; return; fi
  done
  if command -v uv >/dev/null 2>&1; then
    candidate="$(uv python find --no-project '>=3.12' 2>/dev/null)" || {
      say "fetching Python 3.12 with uv, into your home folder"
      uv python install --quiet 3.12 && candidate="$(uv python find --no-project 3.12)"
    } || candidate=""
    if [ -n "$candidate" ] && usable "$candidate"; then printf '%s\n' "$candidate"; return; fi
  fi
  say "error: no Python 3.12 or newer found (on PATH, in pyenv, through uv)"
  [ -z "$rejected" ] || printf '%s' "$rejected" >&2
  say "Any one of these gives you one; the first three need no root:"
  say "  uv:      curl -LsSf https://astral.sh/uv/install.sh | sh   (then run this again)"
  say "  pyenv:   pyenv install 3.12"
  say "  conda:   conda create -n python312 python=3.12 && conda activate python312"
  say "  Ubuntu:  sudo apt install python3.12 python3.12-venv"
  say "  macOS:   brew install python@3.12"
  say "Or name yours: PYTHON=/path/to/python3.12 setup/install.sh"
  return 1
}

# The extras of $1 and of the last installation, sorted, each once.
all_extras() {
  local installed=""
  [ ! -f "$stamp" ] || installed="$(sed -n 1p "$stamp")"
  printf '%s,%s' "$1" "$installed" | tr -s ', ' '\n' | grep -v -x -e none -e '' | sort -u | paste -sd, - || true
}

# The text that the stamp must hold.
wanted() {
  printf '%s\n%s\n' "$extras" "$place"
  [ "$place" = "$root" ] || pwd -P  # where pip takes the code from
  [ "$system" = 0 ] || printf 'with system packages\n'
  cat pyproject.toml setup/constraints.txt
}

complete() { wanted | cmp -s - "$stamp" && "$venv/bin/python" -c '' 2>/dev/null; }

# Whether the environment was moved since, with the project or alone: its scripts hold the old path.
moved() { [ -f "$stamp" ] && [ "$(sed -n 2p "$stamp")" != "$place" ]; }

# Whether the environment does not see the packages of its Python, though it should.
blind() {
  [ "$system" = 1 ] \
    && ! grep -q -i '^include-system-site-packages *= *true' "$venv/pyvenv.cfg" 2>/dev/null
}

# Whether a new environment is needed, rather than a repair of the packages in the one that is there.
must_be_new() {
  [ -e "$unfinished" ] || moved || blind || ! usable "$venv/bin/python" \
    || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1
}

# Fails where a new environment would take the place of other files, as with VENV="$HOME".
spare_others() {
  local entry
  [ ! -e "$venv" ] || [ -d "$venv" ] || die "$shown is a file; name another folder with VENV"
  for entry in pyvenv.cfg "${stamp##*/}" "${unfinished##*/}" "${log##*/}"; do
    [ ! -e "$venv/$entry" ] || return 0
  done
  for entry in "$venv"/* "$venv"/.[!.]*; do
    case "${entry##*/}" in
      bin | include | lib | lib64) ;;  # of one whose making was killed
      *) [ ! -e "$entry" ] || die "$shown holds other files, such as ${entry##*/}; name another folder with VENV" ;;
    esac
  done
}

# Waits for another installation into the same environment; without flock (macOS) there is no waiting.
take_turn() {
  mkdir -p "$(dirname "$venv")"
  command -v flock >/dev/null 2>&1 || return 0
  exec 9<"$(dirname "$venv")"
  flock -n 9 && return
  say "waiting for another installation into $shown"
  flock 9
}

# Writes the constraints without the packages that the Python of the environment brings: those stay,
# if they are within the ranges of pyproject.toml.
free_system_packages() {
  constraints="$venv/constraints.txt"
  "$venv/bin/python" - setup/constraints.txt >"$constraints" <<'PY'
import importlib.metadata, re, sys

def plain(name):
  return re.sub(r"[-_.]+", "-", name).lower()

there = {plain(each.name) for each in importlib.metadata.distributions() if each.name}
with open(sys.argv[1]) as lines:
  sys.stdout.writelines(line for line in lines if plain(line.split("==")[0]) not in there)
PY
}

# One line that changes on a terminal; silent elsewhere. pip's own output goes to the log.
progress() {
  local line
  while IFS= read -r line; do
    printf '%s\n' "$line" >>"$log"
    [ -t 2 ] || continue
    case "$line" in
      Collecting* | *Downloading* | Installing* | *Preparing*) printf '\r\033[K  %.76s' "${line#"${line%%[! ]*}"}" >&2 ;;
    esac
  done
  [ ! -t 2 ] || printf '\r\033[K' >&2
}

pip_install() {
  PIP_DISABLE_PIP_VERSION_CHECK=1 "$venv/bin/python" -m pip install --no-input --progress-bar off \
    --no-compile -c "$constraints" -e ".${extras:+[$extras]}" 2>&1 </dev/null | progress
}

# Has Python compile what the commands import, a fifth of all that was installed, so that the first
# command does not wait for it.
compile_imports() {
  env -u PYTHONDONTWRITEBYTECODE "$venv/bin/python" -W ignore \
    -c 'import maxtext_ext.cli, maxtext_ext.decode.decode, maxtext_ext.train.loop' \
    >>"$log" 2>&1 </dev/null || say "the project cannot be imported; the end of $log says why"
}

check_extras() {
  local extra
  for extra in ${1//,/ }; do
    case "$extra" in
      dev | tensorflow | cuda12 | tpu | gcs | plan | serve | vad | ctc | notebook | real-weights | beam | launch) ;;
      *) die "unknown extra $extra; there are dev, tensorflow, cuda12, tpu, gcs, plan, serve, vad, ctc, notebook, real-weights, beam, launch, or none" ;;
    esac
    case "$OSTYPE $extra" in
      darwin*" cuda12" | darwin*" tpu") die "$extra needs Linux; on macOS JAX runs on the CPU, without it" ;;
    esac
  done
}

main() {
  case "${1:-}" in
    -h | --help) usage; exit 0 ;;
    --print-python) find_python; exit ;;
    -*) usage >&2; exit 2 ;;
  esac
  local asked="${1:-${EXTRAS-dev,tensorflow,beam,gcs,plan}}"
  extras="$(all_extras "$asked")"
  check_extras "$extras"
  case "$system" in 0 | 1) ;; *) die "SYSTEM_PACKAGES=$system, expected 0 or 1" ;; esac
  ! complete || return 0

  local python started=$SECONDS
  take_turn
  extras="$(all_extras "$asked")"
  ! complete || return 0
  if must_be_new; then
    spare_others
    python="$(find_python)"
    say "making $shown with $python"
    if [ "$system" = 1 ]; then
      "$python" -m venv --clear --system-site-packages "$venv"
    else
      "$python" -m venv --clear "$venv"
    fi
  fi
  say "installing into $shown${extras:+ with $extras} (a few minutes the first time)"
  rm -f "$stamp" "$log"
  [ "$system" = 0 ] || free_system_packages
  : >"$unfinished"
  local status=0
  pip_install || status=$?
  [ "$status" != 0 ] || compile_imports
  [ "$status" -ge 128 ] || rm -f "$unfinished"  # by a signal: pip has not cleaned up
  if [ "$status" != 0 ]; then
    tail -n 20 "$log" >&2
    die "pip could not install the project; its whole output is in ${log#"$root"/}"
  fi
  wanted >"$stamp.new"
  mv "$stamp.new" "$stamp"
  say "environment ready in $((SECONDS - started)) s: $shown"
}

main "$@"
