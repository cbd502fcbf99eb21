#!/usr/bin/env bash
# Makes .venv at the root of the repository and installs the project into it.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: setup/install.sh [EXTRA[,EXTRA...]]
       setup/install.sh --print-python     only show which Python would be used

Installs the project, editable, with the versions of setup/constraints.txt.
  EXTRA    dev, tensorflow, cuda12, tpu, gcs, plan, serve, beam; or `none`.
           Default: dev,tensorflow,beam,gcs,plan.
           They are added to the ones that .venv has already.
  EXTRAS   the same, as an environment variable
  PYTHON   the Python to use, 3.12 or newer; otherwise one is looked for
Safe to run again: does nothing when .venv is complete, repairs it when it is not.
TEXT
}

say() { printf '%s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
venv="$root/.venv"
stamp="$venv/installed"  # what the finished installation was made from
log="$venv/install.log"

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
wanted() { printf '%s\n%s\n' "$extras" "$root"; cat pyproject.toml setup/constraints.txt; }

# Whether the project was moved since: the scripts in .venv hold the old path.
moved() { [ -f "$stamp" ] && [ "$(sed -n 2p "$stamp")" != "$root" ]; }

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
    -c setup/constraints.txt -e ".${extras:+[$extras]}" 2>&1 </dev/null | progress
}

check_extras() {
  local extra
  for extra in ${1//,/ }; do
    case "$extra" in
      dev | tensorflow | cuda12 | tpu | gcs | plan | serve | beam) ;;
      *) die "unknown extra $extra; there are dev, tensorflow, cuda12, tpu, gcs, plan, serve, beam, or none" ;;
    esac
  done
}

main() {
  case "${1:-}" in
    -h | --help) usage; exit 0 ;;
    --print-python) find_python; exit ;;
    -*) usage >&2; exit 2 ;;
  esac
  extras="$(all_extras "${1:-${EXTRAS-dev,tensorflow,beam,gcs,plan}}")"
  check_extras "$extras"
  if wanted | cmp -s - "$stamp" && "$venv/bin/python" -c '' 2>/dev/null; then
    return
  fi

  local python started=$SECONDS
  if moved || ! usable "$venv/bin/python" \
    || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    python="$(find_python)"
    say "making .venv with $python"
    "$python" -m venv --clear "$venv"
  fi
  say "installing into .venv${extras:+ with $extras} (a few minutes the first time)"
  rm -f "$stamp" "$log"
  if ! pip_install; then
    tail -n 20 "$log" >&2
    die "pip could not install the project; its whole output is in ${log#"$root"/}"
  fi
  wanted >"$stamp.new"
  mv "$stamp.new" "$stamp"
  say "environment ready in $((SECONDS - started)) s: .venv"
}

main "$@"
