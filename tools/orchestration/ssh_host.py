"""SSH to one host: options, functions of remote_host.sh on it, retries, and what went wrong."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

SCRIPT = Path(__file__).with_name("remote_host.sh")
MARK = b"maxtext\t"  # begins the lines of SCRIPT that are for the program
SSH_FAILED = 255  # status of ssh itself
LONGEST_PAUSE = 8  # s between tries

# What ssh says when it fails, and what it means. {place}: where; {known}: its name in known_hosts.
REASONS = (
  ("REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed", False,
   "{place} has another host key than before; if the host was made anew, run "
   "ssh-keygen -R '{known}' and try again"),
  ("UNPROTECTED PRIVATE KEY FILE", False,
   "others can read the private key, so ssh does not use it; chmod 600 it"),
  (r"Permission denied \(", False,
   "{place} takes none of your keys for user {user}; name one with --key, load it into ssh-agent "
   "if it has a passphrase, or add its public half to authorized_keys there"),
  ("Could not resolve hostname", False, "unknown host {host}; check the name, or give the address"),
  ("Connection refused", True,
   "{place} refuses connections; check the port, and that the host is up"),
  ("Connection timed out|Operation timed out|timed out during banner exchange", True,
   "{place} does not answer; check the address, and that the host is up"),
  ("No route to host|Network is unreachable", True,
   "there is no way to {place}; check the network"),
  ("(kex|ssh)_exchange_identification|banner exchange|Connection (closed|reset) by .* port", True,
   "{place} closes connections; check that sshd listens on that port"),
)  # fmt: skip


class HostError(Exception):
  """A failure on a host or on the way to it, for people to read."""


class ConnectionLost(HostError):
  """A connection that broke, or never came about."""


@dataclass(frozen=True)
class SshHost:
  """A host that is reached by ssh, with the user's own configuration of ssh."""

  host: str
  port: int
  user: str = "root"
  key: str | None = None
  wait: float = 60  # s, to go on trying to connect

  @property
  def place(self) -> str:
    """The host and its port, for people."""
    return f"{self.host} port {self.port}"

  @property
  def login(self) -> str:
    """User and host, as ssh takes them."""
    return f"{self.user}@{self.host}"

  def command(self, *options: str) -> list[str]:
    """Returns the command line of ssh, up to the host."""
    settings = (
      "BatchMode=yes",
      "ConnectTimeout=10",
      "ServerAliveInterval=15",
      "ServerAliveCountMax=4",
      "StrictHostKeyChecking=accept-new",
      *(["IdentitiesOnly=yes"] if self.key else []),
    )
    line = ["ssh", "-p", str(self.port)]
    line += [word for setting in settings for word in ("-o", setting)]
    return [*line, *(["-i", self.key] if self.key else []), *options]

  def call(
    self,
    function: str,
    *arguments: str,
    feed: Callable[[BinaryIO], None] | None = None,
    output: Callable[[BufferedReader], None] | None = None,
  ) -> list[list[str]]:
    """Runs a function of SCRIPT on the host; tries again while there is no connection.

    Args:
      feed: writes the function's standard input.
      output: reads its standard output as it comes.

    Returns:
      The marked lines that it wrote, as fields; none with `output`.

    Raises:
      HostError: the function failed; the message has what it said.
      ConnectionLost: no connection in time, or the connection broke.
    """
    remote = " ".join(shlex.quote(word) for word in ("bash", "-s", "--", function, *arguments))
    until = time.monotonic() + self.wait
    pause = 1.0
    while True:
      status, answer, errors = self._try([*self.command(), "-T", self.login, remote], feed, output)
      if status == 0:
        lines = [line for line in answer.split(b"\n") if line.startswith(MARK)]
        return [line.decode(errors="replace").split("\t")[1:] for line in lines]
      if status != SSH_FAILED:
        raise HostError(_failed(self.host, function, status, errors))
      unreached, reason = self.explain(errors)
      reached = MARK in answer  # then it may have done its work, and is not to do it twice
      if reached or not unreached or time.monotonic() + pause > until:
        raise ConnectionLost(reason)
      if pause == 1:
        print(f"{reason}; trying again for {self.wait:g} s", file=sys.stderr)
      time.sleep(pause)
      pause = min(2 * pause, LONGEST_PAUSE)

  def explain(self, errors: str) -> tuple[bool, str]:
    """Returns whether another try may reach the host, and what is wrong, from what ssh said."""
    known = self.host if self.port == 22 else f"[{self.host}]:{self.port}"
    for pattern, unreached, reason in REASONS:
      if re.search(pattern, errors):
        return unreached, reason.format(
          place=self.place, known=known, user=self.user, host=self.host
        )
    last = errors.strip().splitlines()[-1:] or ["ssh ended without a word"]
    return False, f"the connection to {self.place} was lost: {last[0].strip()}"

  def _try(
    self,
    line: list[str],
    feed: Callable[[BinaryIO], None] | None,
    output: Callable[[BufferedReader], None] | None,
  ) -> tuple[int, bytes, str]:
    """Runs ssh once; returns its status, its output (with `output` the start), and its errors."""
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as errors:
      try:
        process = subprocess.Popen(
          line,
          stdin=subprocess.PIPE,
          stdout=subprocess.PIPE if output else answer,
          stderr=errors,
        )
      except FileNotFoundError:
        raise HostError("ssh is not installed here; install openssh-client") from None
      with process:
        try:
          # Where ssh ends early, its status tells more than the broken pipe.
          with contextlib.suppress(BrokenPipeError):
            process.stdin.write(SCRIPT.read_bytes())
            if feed:
              feed(process.stdin)
          with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
          begun = process.stdout.peek() if output else b""
          if begun:
            output(process.stdout)
          process.wait()
        except BaseException:
          process.terminate()
          raise
      answer.seek(0)
      errors.seek(0)
      return process.returncode, begun or answer.read(), errors.read().decode(errors="replace")


def _failed(host: str, function: str, status: int, errors: str) -> str:
  lines = errors.strip().splitlines()
  if "No space left on device" in errors:
    lines.append(
      "error: no space left on the disk; free some there, or choose another --remote-dir"
    )
  if not lines or not lines[-1].startswith("error: "):
    lines.append(f"error: {function} ended with status {status}")
  lines[-1] = f"{host}: {lines[-1][len('error: ') :]}"
  return "\n".join(lines)
