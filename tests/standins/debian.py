"""Programs from Debian's packages, unpacked without root where the machine lacks them."""

import os
import pathlib
import shutil
import subprocess
import tempfile

import filelock

# openssh-server and rsync, and the libraries that a machine with only ssh may lack. libnss-wrapper
# lends sshd its user `sshd`, which only an installation would add to /etc/passwd.
PACKAGES = ("openssh-server", "rsync", "libnss-wrapper", "libwrap0", "libpopt0", "libxxhash0")


class Unavailable(Exception):
  """A package that cannot be had here, and why."""


def unpacked() -> pathlib.Path:
  """Returns a folder with the files of PACKAGES, as below `/`; downloads them the first time."""
  cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
  target = cache / "maxtext-ext" / "debian-packages"
  target.parent.mkdir(parents=True, exist_ok=True)
  with filelock.FileLock(f"{target}.lock"):
    if not target.exists():
      with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        work = pathlib.Path(folder)
        _download(work)
        for package in work.glob("*.deb"):
          subprocess.run(["dpkg", "-x", package, work / "root"], check=True)
        (work / "root").rename(target)
  return target


def _download(folder: pathlib.Path) -> None:
  if not (shutil.which("apt-get") and shutil.which("dpkg")):
    raise Unavailable("install openssh-server and rsync")
  apt = ["apt-get", "-qq", "-o", "APT::Sandbox::User="]
  if _run([*apt, "download", *PACKAGES], folder).returncode == 0:
    return
  # No lists of packages here, or old ones: take new ones for this download alone.
  lists = folder / "lists"
  lists.mkdir()
  apt += ["-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={folder}"]
  for command in ([*apt, "update"], [*apt, "download", *PACKAGES]):
    finished = _run(command, folder)
    if finished.returncode:
      raise Unavailable(f"install openssh-server and rsync; {finished.stderr.strip()}")


def _run(command: list[str], folder: pathlib.Path) -> subprocess.CompletedProcess:
  return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
