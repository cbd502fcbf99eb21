"""Sessions of training on a host: list, choose, watch and follow them, and how they ended."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedReader

from orchestration.ssh_host import MARK, SSH_FAILED, ConnectionLost, HostError, SshHost

# tmux refuses a terminal that the host does not know. $0: the server's label, $1: the session.
ATTACH = (
  'infocmp "$TERM" >/dev/null 2>&1 || export TERM=xterm-256color; '
  'exec tmux -u -L "$0" attach-session -t "$1"'
)
LINES_AFTER = 30  # of the log, behind what tmux showed
# Undoes what tmux did to the terminal, when the connection broke: other screen, hidden cursor,
# colours, marked pastes.
RESET_TERMINAL = "\033[?1049l\033[?25h\033[0m\033[?2004l\r\n"


@dataclass(frozen=True)
class Session:
  """A training on a host, in a tmux of its own.

  `state` is starting, running, lost (it is gone, its status unknown) or the exit status.
  """

  name: str
  state: str
  started: str  # UTC, as 2026-11-30T08:00:00.123456789
  label: str  # of its tmux server
  code: str
  command: str

  @property
  def running(self) -> bool:
    """Tells whether it goes on."""
    return self.state in ("starting", "running")

  @property
  def status(self) -> int:
    """Exit status to pass on: 0 while it runs, 255 where it is unknown."""
    if self.running:
      return 0
    return int(self.state) if self.state.isdigit() else SSH_FAILED

  def __str__(self) -> str:
    if self.running:
      return f"{self.name} runs since {self.started[:19]} UTC"
    if self.state == "lost":
      return f"{self.name} is gone without a status: the host was restarted, or it was killed"
    try:
      by = f" ({signal.Signals(self.status - 128).name})" if self.status > 128 else ""
    except ValueError:  # no such signal
      by = ""
    return f"{self.name} ended with status {self.status}{by}"


def list_sessions(host: SshHost) -> list[Session]:
  """Returns the sessions of a host, oldest first."""
  lines = [fields for fields in host.call("list") if fields[0] == "session"]
  return sorted((Session(*fields[1:]) for fields in lines), key=lambda session: session.started)


def find_session(sessions: Sequence[Session], name: str | None) -> Session:
  """Returns the session of that name; without one the only one that runs, else the newest."""
  names = ", ".join(session.name for session in sessions)
  if name is not None:
    for session in sessions:
      if session.name == name:
        return session
    raise HostError(f"no session {name} on the host; there is {names or 'none'}")
  running = [session for session in sessions if session.running]
  if len(running) > 1:
    names = ", ".join(session.name for session in running)
    raise HostError(f"several sessions run: {names}; choose with --session-name")
  if not sessions:
    raise HostError("no session on the host; start one")
  return running[0] if running else sessions[-1]


def watch_session(host: SshHost, session: Session, lines: int | None = None) -> int:
  """Shows a session until it ends or the user leaves; returns the status to exit with.

  On a terminal that is tmux; elsewhere the last `lines` of the log, or all, and what is added.
  """
  goes_on = f"{session.name} goes on; see it with: {hint(host, 'attach', session.name)}"
  if session.running and sys.stdin.isatty() and sys.stdout.isatty():
    status = _attach(host, session)
    session = find_session(list_sessions(host), session.name)
    if session.running and status == SSH_FAILED:
      raise ConnectionLost(f"the connection to {host.place} was lost; {goes_on}")
    if session.running and status == 0:
      print(goes_on, file=sys.stderr)
      return 0
    lines = LINES_AFTER
  try:
    show_log(host, session, lines, follow=True)
  except KeyboardInterrupt:
    print(goes_on, file=sys.stderr)
    return 128 + signal.SIGINT
  session = find_session(list_sessions(host), session.name)
  print(session, file=sys.stderr)
  return session.status


def hint(host: SshHost, command: str, name: str) -> str:
  """Returns the command line that does `command` to a session."""
  words = ["tools/remote.py", command, host.host, str(host.port), "--session-name", name]
  words += ["--user", host.user] if host.user != "root" else []
  return shlex.join([*words, *(["--key", host.key] if host.key else [])])


def show_log(host: SshHost, session: Session, lines: int | None, *, follow: bool = False) -> None:
  """Writes the last lines of a session's log, or all, to standard output.

  With `follow` goes on until the session ends; after a lost connection where it was, so that no
  byte is lost or repeated.
  """
  reader = _LogReader()
  position = "0" if lines is None else ""
  arguments = (str(lines or 0), "yes" if follow else "no")
  while True:
    reader.reached = False
    try:
      host.call("show", session.name, position, *arguments, output=reader.read)
      return
    except ConnectionLost as error:
      if not follow or not reader.reached:
        raise
      print(f"{error}; connecting again", file=sys.stderr)
      position = str(reader.position)
      time.sleep(1)


class _LogReader:
  """The output of `show`: a marked line with the position in the log, then the log itself."""

  def __init__(self) -> None:
    self.position = 0
    self.reached = False

  def read(self, stream: BufferedReader) -> None:
    # A start-up file of the host's shell may have written something before.
    for line in iter(stream.readline, b""):
      if line.startswith(MARK + b"log\t"):
        self.position = int(line.split(b"\t")[2])
        self.reached = True
        break
    while chunk := stream.read1(1 << 16):
      sys.stdout.buffer.write(chunk)
      sys.stdout.buffer.flush()
      self.position += len(chunk)


def _attach(host: SshHost, session: Session) -> int:
  """Shows the session's tmux until the user leaves or it ends; returns the status of ssh."""
  remote = ["bash", "-c", shlex.quote(ATTACH), session.label, session.name]
  line = [*host.command("-t", "-o", "LogLevel=ERROR"), host.login, " ".join(remote)]
  status = subprocess.run(line, check=False).returncode
  if status == SSH_FAILED:
    sys.stdout.write(RESET_TERMINAL)
    sys.stdout.flush()
  return status
