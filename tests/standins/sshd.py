"""A real sshd on loopback whose sessions have a home and a PATH of their own."""

import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import pytest

from standins import debian

# All that is on the remote PATH: what a GPU host has, but nothing that changes this machine.
REMOTE_TOOLS = (
  *("bash", "basename", "cat", "chmod", "cp", "cut", "date", "dirname", "env", "flock", "grep"),
  *("gzip", "head", "id", "infocmp", "kill", "ls", "mkdir", "mkfifo", "mv", "python3", "rm", "sed"),
  *("setsid", "sh", "sleep", "stty", "tail", "tar", "tee", "timeout", "tmux", "touch", "tr", "wc"),
)
PLACES = "/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin:/usr/local/bin"


def find_programs() -> tuple[str, str, dict[str, str]]:
  """Returns sshd, rsync and the environment that they need.

  Skips the test where the machine has none and none can be had; fails it with CI=true.
  """
  lacking = [name for name in ("ssh", "tmux") if not shutil.which(name)]
  if lacking or not sys.platform.startswith("linux"):
    _unavailable(f"a Linux machine is needed, with {' and '.join(lacking or ['sshd'])}")
  path = f"{os.environ['PATH']}:{PLACES}"
  sshd, rsync = shutil.which("sshd", path=path), shutil.which("rsync", path=path)
  user_exists = os.geteuid() != 0 or any(entry.pw_name == "sshd" for entry in pwd.getpwall())
  if sshd and rsync and user_exists:
    return sshd, rsync, {}
  try:
    root = debian.unpacked()
  except debian.Unavailable as error:
    _unavailable(str(error))
  libraries = [str(folder) for folder in root.glob("usr/lib/*-linux-gnu*")]
  environment = {"LD_LIBRARY_PATH": ":".join(libraries)}
  if not user_exists:
    environment["LD_PRELOAD"] = f"{libraries[0]}/libnss_wrapper.so"
  return sshd or f"{root}/usr/sbin/sshd", rsync or f"{root}/usr/bin/rsync", environment


def _unavailable(reason: str) -> None:
  if os.environ.get("CI") == "true":
    pytest.fail(f"no sshd for this test: {reason}")
  pytest.skip(f"no sshd for this test: {reason}")


class Sshd:
  """An sshd on a free port of 127.0.0.1, for the user who runs the tests.

  Attributes:
    home: HOME of its sessions.
    bin: PATH of its sessions; tests add to it and remove from it.
    client: a folder for the PATH of the local side: ssh with its keys, and rsync.
  """

  def __init__(self, folder: pathlib.Path):
    sshd, rsync, self._environment = find_programs()
    self._sshd = sshd
    self.folder = folder
    self.user = pwd.getpwuid(os.geteuid()).pw_name
    self.home, self.bin, self.client = (folder / name for name in ("home", "bin", "client"))
    for part in (self.home, self.bin, self.client):
      part.mkdir(parents=True)
    # The path of a socket is at most 108 bytes long.
    self.sockets = tempfile.mkdtemp(prefix="tmux-", dir="/tmp")
    self._process = None
    for tool in REMOTE_TOOLS:
      (self.bin / tool).symlink_to(shutil.which(tool))
    libraries = self._environment.get("LD_LIBRARY_PATH", "")
    for part in (self.bin, self.client):
      self.add(part / "rsync", f'LD_LIBRARY_PATH="{libraries}" exec {rsync} "$@"')
    for key in ("host", "user", "other"):
      self._make_key(key)
    (folder / "client.conf").write_text(
      f"UserKnownHostsFile {folder}/known_hosts\n"
      "GlobalKnownHostsFile /dev/null\n"
      f"IdentityFile {folder}/user\nIdentitiesOnly yes\nIdentityAgent none\n"
    )
    ssh = shutil.which("ssh")
    self.add(self.client / "ssh", f'exec {ssh} -F {folder}/client.conf "$@"')
    with socket.socket() as found:
      found.bind(("127.0.0.1", 0))
      self.port = found.getsockname()[1]

  def add(self, path: pathlib.Path, text: str) -> None:
    """Writes a program in sh."""
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)

  def start(self) -> None:
    """Starts sshd, and waits until it listens."""
    (self.folder / "sshd.conf").write_text(
      f"ListenAddress 127.0.0.1\nPort {self.port}\nPidFile none\n"
      f"HostKey {self.folder}/host\nAuthorizedKeysFile {self.folder}/user.pub\n"
      "StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
      "KexAlgorithms curve25519-sha256\n"  # the default costs 50 ms of CPU a connection
      f"PermitRootLogin yes\nMaxStartups 100\nSetEnv HOME={self.home} PATH={self.bin}"
      f" TMUX_TMPDIR={self.sockets} LANG=C.UTF-8\n{self._helpers()}"
    )
    environment = os.environ | self._environment
    if os.geteuid() == 0:
      os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # sshd insists on this empty folder
    if "LD_PRELOAD" in environment:
      users = pathlib.Path("/etc/passwd").read_text() + "sshd:x:65533:65534::/run/sshd:/bin/false\n"
      (self.folder / "passwd").write_text(users)
      environment |= {
        "NSS_WRAPPER_PASSWD": f"{self.folder}/passwd",
        "NSS_WRAPPER_GROUP": "/etc/group",
      }
    log = self.folder / "sshd.log"
    with open(log, "wb") as file:
      self._process = subprocess.Popen(
        [self._sshd, "-D", "-e", "-f", self.folder / "sshd.conf"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stderr=file,
      )
    until = time.monotonic() + 60
    while "Server listening" not in log.read_text():
      if self._process.poll() is not None or time.monotonic() > until:
        raise RuntimeError(f"sshd does not start: {log.read_text()}")
      time.sleep(0.02)

  def drop_connections(self) -> int:
    """Kills the processes of all connections, and nothing that they started; returns how many."""
    dropped = 0
    for pid in _children(self._process.pid):
      for each in (pid, *[child for child in _children(pid) if _name(child).startswith("sshd")]):
        with contextlib.suppress(ProcessLookupError):
          os.kill(each, signal.SIGKILL)
          dropped += 1
    return dropped

  def renew_host_key(self) -> None:
    """Takes another host key, as a host that was made anew."""
    self.stop()
    self._make_key("host")
    self.start()

  def stop(self) -> None:
    """Ends sshd and its connections."""
    if self._process:
      self._process.terminate()
      self._process.wait()
      self._process = None

  def close(self) -> None:
    """Ends sshd and the tmux servers of its sessions, with all that runs in them."""
    self.stop()
    for pids in self.home.glob(".maxtext-sessions/*/pids"):
      leader = int(pids.read_text().split()[2])
      with contextlib.suppress(ProcessLookupError):
        if leader and os.getpgid(leader) == leader:
          os.killpg(leader, signal.SIGKILL)
    for server in pathlib.Path(self.sockets).glob("*/*"):
      subprocess.run(["tmux", "-S", server, "kill-server"], capture_output=True, check=False)
    shutil.rmtree(self.sockets)

  def _make_key(self, name: str) -> None:
    path = self.folder / name
    path.unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path]
    subprocess.run(command, check=True)

  def _helpers(self) -> str:
    """Settings for the parts of a newer sshd that was unpacked elsewhere than its own place."""
    folder = pathlib.Path(self._sshd).parents[1] / "lib" / "openssh"
    helpers = {"SshdSessionPath": "sshd-session", "SshdAuthPath": "sshd-auth"}
    return "".join(
      f"{setting} {folder / name}\n"
      for setting, name in helpers.items()
      if (folder / name).exists()
    )


def _children(pid: int) -> list[int]:
  text = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
  with contextlib.suppress(FileNotFoundError, ProcessLookupError):
    return [int(child) for child in text.read_text().split()]
  return []


def _name(pid: int) -> str:
  with contextlib.suppress(FileNotFoundError, ProcessLookupError):
    return pathlib.Path(f"/proc/{pid}/comm").read_text()
  return ""
