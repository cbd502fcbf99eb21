# shellcheck shell=bash
# Steps that setup_tpu_worker.sh and setup_cuda_worker.sh share; sourced by them.

say() { printf '%s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
code="$HOME/maxtext"
lock_seconds="${LOCK_SECONDS:-900}"  # for another program to be done with apt
uv_folder="$HOME/.local/share/maxtext-uv"
VENV="${VENV:-$HOME/venv-maxtext}"
case "$VENV" in /*) ;; *) VENV="$PWD/$VENV" ;; esac
export VENV

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# Makes ~/maxtext lead to this copy of the code, unless a folder of its own is there already.
link_code() {
  if [ "$root" -ef "$code" ]; then
    return
  elif [ -L "$code" ] || [ ! -e "$code" ]; then
    ln -sfn "$root" "$code"
    say "$code -> $root"
  else
    say "note: $code is another copy of the code and stays as it is; this one is in $root"
  fi
}

# Runs apt-get; waits for a program that holds its locks, such as unattended-upgrades after the first
# boot, and completes an installation that was interrupted.
apt() {
  local out status repaired="" started=$SECONDS
  while true; do
    status=0
    out="$(as_root env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -q -y \
      -o "DPkg::Lock::Timeout=$lock_seconds" "$@" 2>&1)" || status=$?
    [ "$status" != 0 ] || return 0
    case "$out" in
      *"Could not get lock"* | *"Unable to lock"* | *"Unable to acquire the dpkg"*)
        [ $((SECONDS - started)) -lt "$lock_seconds" ] || break
        say "waiting for the program that holds apt's lock: $(grep -m 1 -i lock <<<"$out")"
        sleep "${LOCK_POLL:-5}"
        ;;
      *"dpkg was interrupted"*)
        [ -z "$repaired" ] || break
        repaired=yes
        say "completing an installation that was interrupted: dpkg --configure -a"
        as_root env DEBIAN_FRONTEND=noninteractive dpkg --configure -a >&2 || break
        ;;
      *) break ;;
    esac
  done
  tail -n 5 <<<"$out" >&2
  say "apt-get $* failed with status $status"
  return 1
}

# Gets uv, which gets a Python without root, from the package registry.
fetch_uv() {
  python3 -m pip --version >/dev/null 2>&1 || return 1
  say "no Python 3.12 here: fetching uv, which brings one into your home folder"
  python3 -m pip install --quiet --no-input --disable-pip-version-check --upgrade \
    --target "$uv_folder" uv >&2
}

# Makes sure that install.sh finds a Python 3.12: one that is here, through uv, or of the system.
ensure_python() {
  PATH="$PATH:$uv_folder/bin"
  ! "$root/setup/install.sh" --print-python >/dev/null 2>&1 || return 0
  if fetch_uv && "$root/setup/install.sh" --print-python >/dev/null; then return; fi
  say "no Python 3.12 through uv: asking apt for one"
  if command -v apt-get >/dev/null 2>&1 && apt update && add_python_archive \
    && apt install python3.12 python3.12-venv; then
    return
  fi
  "$root/setup/install.sh" --print-python >/dev/null  # says what a person can do
}

# Ubuntu 22.04 has no Python 3.12; the archive called deadsnakes has.
add_python_archive() {
  apt-cache show python3.12 >/dev/null 2>&1 && return
  apt install software-properties-common \
    && as_root add-apt-repository -y ppa:deadsnakes/ppa >&2 && apt update
}

# The installation itself, and the look at it.
install_and_check() {
  local extra="$1" skip_doctor="$2" accelerator="$3"
  "$root/setup/install.sh" "$extra"
  if [ "$skip_doctor" = yes ]; then return; fi
  say "source $VENV/bin/activate   # then maxtext-ext --help"
  exec "$VENV/bin/maxtext-ext" doctor --expect "$accelerator"
}
