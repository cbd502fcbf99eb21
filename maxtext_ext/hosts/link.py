"""A connection between two processes of a run: lines of JSON, and its end tells of a death."""

import asyncio
import json
import socket
from typing import Any, Self

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

  The system of a process that dies closes its connections, however it dies, so the other end learns
  it at once; of a machine that dies the system of the other end learns it by asking.
  """

  def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    self._reader = reader
    self._writer = writer
    for option in _KEEP_ALIVE:
      writer.get_extra_info("socket").setsockopt(*option)

  @classmethod
  async def to(cls, host: str, port: int) -> Self:
    """Connects to a process that listens.

    Raises:
      OSError: it does not.
    """
    return cls(*await asyncio.open_connection(host, port))

  async def send(self, **message: Any) -> None:
    """Sends a message; nothing happens when the other end is gone."""
    self._writer.write(json.dumps(message).encode() + b"\n")
    try:
      await self._writer.drain()
    except OSError:
      self._writer.close()  # who listens to this link learns it there

  async def receive(self) -> dict[str, Any] | None:
    """The next message; None when the other end is gone, or is none of ours."""
    try:
      message = json.loads(await self._reader.readline())
    except (OSError, ValueError):  # an empty line is no JSON; nor is what other programs say
      return None
    return message if isinstance(message, dict) else None

  @property
  def closed(self) -> bool:
    """Whether the other end is known to be gone."""
    return self._reader.at_eof() or self._writer.is_closing()

  def close(self) -> None:
    """Ends the connection."""
    self._writer.close()
