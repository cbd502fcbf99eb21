"""Link between two processes of a run: JSON lines over TCP; a closed one means the peer died."""

import asyncio
import contextlib
import json
import socket
from typing import Any, Self

import pydantic_core

MAX_LINE = 2**20  # bytes of a message; who sends more is none of ours
MAX_TEXT = 2_000  # characters that are shown of what another process says
# A machine that has lost power or network says nothing more: it counts as gone after 30 s.
_IDLE = "TCP_KEEPIDLE" if hasattr(socket, "TCP_KEEPIDLE") else "TCP_KEEPALIVE"  # Linux, macOS
_KEEP_ALIVE = (
  (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
  (socket.IPPROTO_TCP, getattr(socket, _IDLE), 10),  # seconds of silence until it is asked
  (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),  # seconds from one question to the next
  (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),  # questions
)


class Link:
  """One end of a connection.

  When a process dies, its system closes the connection, so the other end notices at once; when a
  machine dies, TCP keep-alive detects it.
  """

  def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    self._reader = reader
    self._writer = writer
    with contextlib.suppress(OSError):  # it is gone already: `receive` says so
      for option in _KEEP_ALIVE:
        writer.get_extra_info("socket").setsockopt(*option)

  @classmethod
  async def to(cls, host: str, port: int) -> Self:
    """Connects to a process that listens.

    Raises:
      OSError: it does not.
    """
    return cls(*await asyncio.open_connection(host, port, limit=MAX_LINE))

  @property
  def peer(self) -> str:
    """Address of the other end, for messages."""
    name = self._writer.get_extra_info("peername")
    return str(name[0]) if name else "an unknown address"

  async def send(self, **message: Any) -> None:
    """Sends a message; nothing happens when the other end is gone."""
    self._writer.write(json.dumps(message).encode() + b"\n")
    try:
      await self._writer.drain()
    except OSError:
      self._writer.close()  # who listens to this link learns it there

  async def receive(self) -> dict[str, Any] | None:
    """Returns the next message; None when the peer is gone or does not belong to the run.

    Who writes lines that are too long, too deep or no JSON is none of ours.
    """
    try:
      # Unlike `json`, this limits the depth.
      message = pydantic_core.from_json(await self._reader.readline())
    except (OSError, ValueError):
      return None
    return message if isinstance(message, dict) else None

  @property
  def closed(self) -> bool:
    """Returns whether the other end is known to be gone."""
    return self._reader.at_eof() or self._writer.is_closing()

  def close(self) -> None:
    """Ends the connection."""
    self._writer.close()
