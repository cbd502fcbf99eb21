"""Transfer of code to a host over ssh, by rsync or tar; deletes nothing there."""

from __future__ import annotations

import gzip
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from orchestration.code_archive import write_tar
from orchestration.ssh_host import HostError, SshHost


def send_files(
  host: SshHost, folder: Path, names: Sequence[str], remote_dir: str, *, with_rsync: bool
) -> list[tuple[str, str]]:
  """Copies the named files of `folder` to `remote_dir` on the host, making its folders.

  Files are overwritten. What stands in the way otherwise, as a folder where a file belongs, is
  renamed; nothing is deleted. Where rsync fails, tar takes its place.

  Returns:
    What was renamed: old and new names, relative to `remote_dir`.
  """
  moved = host.call("make_room", remote_dir, feed=lambda stream: _write_places(stream, names))
  if not with_rsync or not _rsync(host, folder, names, remote_dir):
    host.call("unpack", remote_dir, feed=lambda stream: _write_zipped_tar(stream, folder, names))
  return [(fields[1], fields[2]) for fields in moved if fields[0] == "moved"]


def _write_places(stream: BinaryIO, names: Sequence[str]) -> None:
  """Writes the folders and files that the host must have room for, folders first."""
  folders = set()
  for name in names:
    while (name := os.path.dirname(name)) and name not in folders:
      folders.add(name)
  for kind, places in (("d", sorted(folders)), ("f", names)):
    stream.write(b"".join(os.fsencode(f"{kind}{place}\0") for place in places))


def _write_zipped_tar(stream: BinaryIO, folder: Path, names: Sequence[str]) -> None:
  with gzip.GzipFile("", "wb", 6, stream) as zipped:
    write_tar(folder, names, zipped)


def _rsync(host: SshHost, folder: Path, names: Sequence[str], remote_dir: str) -> bool:
  """Returns whether rsync copied the files; says why not."""
  address = f"[{host.host}]" if ":" in host.host else host.host
  finished = subprocess.run(
    [
      "rsync",
      "--archive",
      "--no-owner",
      "--no-group",
      "--no-implied-dirs",  # folders that are there keep their permissions
      "--checksum",  # size and time can be equal where the contents are not
      "--compress",
      "--protect-args",  # names of folders with spaces
      "--from0",
      "--files-from=-",
      "--rsh",
      shlex.join(host.command()),
      f"{folder}/",
      f"{host.user}@{address}:{remote_dir}/",
    ],
    input=b"".join(os.fsencode(name) + b"\0" for name in names),
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    check=False,
  )
  if finished.returncode == 0:
    return True
  errors = finished.stderr.decode(errors="replace")
  if "No space left on device" in errors:
    raise HostError(f"{host.host}: no space left on the disk of {remote_dir}; free some there")
  first = errors.strip().splitlines()[:1] or [f"status {finished.returncode}"]
  print(f"note: rsync failed, copying with tar: {first[0]}", file=sys.stderr)
  return False
