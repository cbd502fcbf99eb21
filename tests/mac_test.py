"""Data commands on a system without what only Linux has, as macOS.

Stands in for a Mac: names of Linux are taken away from the standard library in a process of its
own, once the libraries beneath and those of Python are loaded.
"""

import json
import subprocess
import sys

import pytest

from tests.sources.manifests import sound_bytes

AS_ON_A_MAC = """
import asyncio, builtins, concurrent.futures.process, ctypes, multiprocessing.pool, os, resource
import select, shutil, signal, socket, ssl, subprocess, sys, tempfile, urllib.request
import av, array_record.python.array_record_module, fsspec, google_crc32c, numpy, pyarrow
import scipy.signal, soundfile, soxr, yaml

socket.TCP_KEEPALIVE = socket.TCP_KEEPIDLE  # its name there
LINUX = {
  os: "copy_file_range eventfd memfd_create pidfd_open posix_fadvise posix_fallocate "
  "sched_getaffinity sched_setaffinity setns splice unshare pipe2 O_TMPFILE O_DIRECT",
  resource: "prlimit RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_RTPRIO RUSAGE_THREAD",
  select: "epoll",
  signal: "SIGPWR SIGSTKFLT SIGRTMIN SIGRTMAX sigtimedwait sigwaitinfo pidfd_send_signal",
  socket: "TCP_KEEPIDLE TCP_USER_TIMEOUT SO_BINDTODEVICE MSG_CONFIRM AF_VSOCK",
}
for module, names in LINUX.items():
  for name in names.split():
    if hasattr(module, name):
      delattr(module, name)
sys.platform = "darwin"
plain_open = builtins.open

def open_elsewhere(file, *args, **options):
  if str(file).startswith(("/proc", "/sys")):
    raise FileNotFoundError(2, "no such file or directory", file)
  return plain_open(file, *args, **options)

builtins.open = open_elsewhere

from maxtext_ext.cli import main
import maxtext_ext.hosts.link, maxtext_ext.demo.espeak, maxtext_ext.demo.command

main(sys.argv[1:])
"""


@pytest.mark.integration_test
def test_data_is_converted_and_verified_without_names_of_linux(tmp_path):
  (tmp_path / "a.flac").write_bytes(sound_bytes(0, 1))
  (tmp_path / "b.mp3").write_bytes(sound_bytes(1, 2, "MP3"))
  lines = [{"audio": name, "text": "said"} for name in ("a.flac", "b.mp3")]
  manifest = tmp_path / "train.jsonl"
  manifest.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
  for arguments, said in (
    (["data", "convert", manifest, tmp_path / "out", "--audio", "flac"], "read 2 = written 2"),
    (["data", "verify", tmp_path / "out"], "whole"),
  ):
    done = subprocess.run(
      [sys.executable, "-c", AS_ON_A_MAC, *map(str, arguments)],
      capture_output=True,
      text=True,
      check=False,
      timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
