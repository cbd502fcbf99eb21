"""TCP relay to JAX's service on process 0, whose connection outlives that process.

When its connection to the service ends, JAX aborts the process with pages of C++ output, before the
lost process can be named. Behind this relay it only waits, and HostMonitor ends the process with a
one-line error.
"""

import asyncio
import contextlib

_PIECE = 2**16  # bytes


class Relay:
  """Passes connections to a local port on to an address."""

  def __init__(self, host: str, port: int) -> None:
    self._host = host
    self._port = port

  async def listen(self) -> str:
    """Starts listening; returns the local address."""
    self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
    host, port = self._server.sockets[0].getsockname()
    return f"{host}:{port}"

  async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
      answers, service = await asyncio.open_connection(self._host, self._port)
    except OSError:  # the service is not there yet: JAX tries again
      writer.close()
      return
    back = asyncio.create_task(_copy(answers, writer))  # its end closes nothing
    await _copy(reader, service)
    service.close()
    back.cancel()
    with contextlib.suppress(asyncio.CancelledError):
      await back
    writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
  """Forwards data until one of the ends is closed."""
  with contextlib.suppress(OSError):
    while piece := await reader.read(_PIECE):
      writer.write(piece)
      await writer.drain()
