"""Lines that are passed on; the end of the service is not."""

import asyncio

import pytest

from maxtext_ext.hosts.relay import Relay


def test_the_end_of_the_service_does_not_reach_who_asked_it():
  async def run() -> tuple[bytes, bool]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
      writer.write((await reader.readline()).upper())
      writer.close()

    service = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = await Relay(*service.sockets[0].getsockname()).listen()
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"alive\n")
    answer = await reader.readline()
    with pytest.raises(TimeoutError):
      await asyncio.wait_for(reader.read(1), 0.5)
    return answer, reader.at_eof()

  assert asyncio.run(run()) == (b"ALIVE\n", False)


def test_an_end_here_reaches_the_service():
  async def run() -> bytes:
    heard = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
      heard.set_result(await reader.read())  # to the end
      writer.close()

    service = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = await Relay(*service.sockets[0].getsockname()).listen()
    host, port = address.split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"the end")
    writer.close()
    return await asyncio.wait_for(heard, 60)

  assert asyncio.run(run()) == b"the end"


def test_without_a_service_the_connection_ends_so_that_it_is_tried_again():
  async def run() -> bytes:
    address = await Relay("127.0.0.1", 1).listen()
    host, port = address.split(":")
    reader, _ = await asyncio.open_connection(host, int(port))
    return await asyncio.wait_for(reader.read(), 60)

  assert asyncio.run(run()) == b""
