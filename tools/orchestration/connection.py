"""Connection to one worker: an ssh client with the agent at its other end."""

from __future__ import annotations

import ast
import base64
import contextlib
import functools
import json
import os
import queue
import re
import secrets
import shlex
import signal
import subprocess
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from orchestration.gcloud import environment

BEAT = 2.0  # seconds from one sign of life to the next
_LAST_NOTES = 5.0  # seconds for what an ended client wrote last; a child of it may hold the pipe
_AGENT = Path(__file__).with_name("agent.py")
_CLIENTS: set[subprocess.Popen] = set()  # that `ask` waits for
_ENDING = threading.Event()


def agent_command(mode: str, spec: dict[str, Any]) -> str:
  """The command line for a worker's shell that runs the agent."""
  packed = base64.b64encode(zlib.compress(_agent_source(), 9)).decode()
  code = f"import base64,zlib;exec(zlib.decompress(base64.b64decode('{packed}')))"
  return "exec " + shlex.join(["python3", "-c", code, mode, json.dumps(spec)])


@functools.cache
def _agent_source() -> bytes:
  """The agent without its docstrings, which a command line need not carry."""
  text = _AGENT.read_text(encoding="utf-8")
  lines = text.splitlines()
  for node in ast.walk(ast.parse(text)):
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
      docstring = node.body[0]
      blank = [""] * (docstring.end_lineno - docstring.lineno + 1)
      if len(node.body) == 1:
        blank[0] = " " * docstring.col_offset + "pass"
      lines[docstring.lineno - 1 : docstring.end_lineno] = blank
  return "\n".join(line for line in lines if line.strip()).encode()


@dataclass(frozen=True)
class Message:
  """Message of a connection: exactly one of the fields is set.

  Attributes:
    output: bytes of the command's output.
    event: what the agent reports.
    closed: exit status of the client.
    note: a line of the client itself.
  """

  output: bytes = b""
  event: dict[str, Any] | None = None
  closed: int | None = None
  note: str = ""


class Connection:
  """A running ssh client.

  Args:
    command: the client's arguments.
    token: what the agent's events begin with.
    receive: is called with every message, by threads of this connection.
    first_line: for the agent's standard input, before anything else.
  """

  def __init__(
    self,
    command: list[str],
    token: str,
    receive: Callable[[Message], None],
    first_line: str = "",
  ) -> None:
    self._receive = receive
    self._mark = f"\x1e{token}".encode()
    self._inbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    self.last_notes: list[str] = []
    # A session of its own: Ctrl-C in the terminal is for the runner, which stops the worker.
    self._client = subprocess.Popen(
      command,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      start_new_session=True,
      env=environment(),
    )
    if first_line:
      self.send(first_line)
    self.send("alive")  # from now on the agent knows that this input ends when the runner does
    self._notes = threading.Thread(target=self._read_notes, daemon=True)
    self._notes.start()
    for work in (self._read_output, self._write):
      threading.Thread(target=work, daemon=True).start()

  def send(self, text: str) -> None:
    """Sends a line to the agent; nothing happens when the connection is gone."""
    self._inbox.put(text.encode() + b"\n")

  def close(self) -> None:
    """Ends the client and its children; the agent stops the command when it notices."""
    self._inbox.put(None)
    _kill(self._client)

  def _write(self) -> None:
    pipe = self._client.stdin
    with contextlib.suppress(OSError, ValueError):
      while True:
        try:
          line = self._inbox.get(timeout=BEAT)
        except queue.Empty:
          line = b"alive\n"
        if line is None or self._client.poll() is not None:
          break
        pipe.write(line)
        pipe.flush()
    with contextlib.suppress(OSError):
      pipe.close()

  def _read_notes(self) -> None:
    for raw in self._client.stderr:
      line = raw.decode(errors="replace").rstrip()
      if line:
        self.last_notes = [*self.last_notes[-9:], line]
        self._receive(Message(note=line))

  def _read_output(self) -> None:
    for message in split_events(self._pieces(), self._mark):
      self._receive(message)
    status = self._client.wait()
    self._notes.join(_LAST_NOTES)  # they say why it ended
    self._receive(Message(closed=status))

  def _pieces(self) -> Iterator[bytes]:
    while data := self._client.stdout.read1(65536):
      yield data


def split_events(pieces: Iterator[bytes], mark: bytes) -> Iterator[Message]:
  """Separates the agent's events from the command's output; the order is kept."""
  rest = b""
  for piece in pieces:
    rest += piece
    while (start := rest.find(mark)) >= 0:
      end = rest.find(b"\n", start)
      if end < 0:
        break
      if start:
        yield Message(output=rest[:start])
      yield Message(event=json.loads(rest[start + len(mark) : end]))
      rest = rest[end + 1 :]
    held = start if start >= 0 else len(rest) - _beginning(rest, mark)
    if held:
      yield Message(output=rest[:held])
    rest = rest[held:]
  if rest:
    yield Message(output=rest)


def _beginning(data: bytes, mark: bytes) -> int:
  """Length of the longest end of the data that the mark begins with."""
  for length in range(min(len(mark), len(data)), 0, -1):
    if mark.startswith(data[-length:]):
      return length
  return 0


def new_token() -> str:
  """A mark for the events of one connection, which no command prints by accident."""
  return secrets.token_hex(8)


def ask(command: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
  """Runs an ssh client to its end, without input; status 124 after `timeout` seconds."""
  client = subprocess.Popen(
    command,
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    start_new_session=True,
    env=environment(),
    text=True,
    errors="replace",
  )
  _CLIENTS.add(client)
  try:
    output, errors = client.communicate(timeout=timeout)
  except subprocess.TimeoutExpired:
    _kill(client)
    client.communicate()
    return subprocess.CompletedProcess(command, 124, "", f"no answer within {timeout:g} s")
  finally:
    _CLIENTS.discard(client)
  return subprocess.CompletedProcess(command, client.returncode, output, errors)


def end_clients() -> None:
  """Ends the clients that are still at work when the program ends."""
  _ENDING.set()
  for client in list(_CLIENTS):
    _kill(client)


def going_on() -> bool:
  """Tells whether the program does not end yet; what clients say from then on is of no interest."""
  return not _ENDING.is_set()


def _kill(client: subprocess.Popen) -> None:
  with contextlib.suppress(ProcessLookupError, PermissionError):
    os.killpg(client.pid, signal.SIGKILL)


def events_in(text: str, token: str) -> list[dict[str, Any]]:
  """The agent's events in the output of a client that has ended."""
  return [json.loads(found) for found in re.findall(f"\x1e{token}(.*)", text)]
