"""All come, or it is said who has not."""

import asyncio
import re
import socket

from maxtext_ext.hosts.cluster import Cluster
from maxtext_ext.hosts.roll_call import meet
from tests.train.processes import free_address

HOST = socket.gethostname()


def call(*indices: int, count: int, seconds: float, address: str = "") -> list:
  """What each of these processes, at one address, is told: hosts, or an error."""
  address = address or free_address()

  async def one(index: int) -> list[str]:
    hosts, links = await meet(Cluster(address=address, count=count, index=index), seconds)
    assert set(links) == ({0} if index else {*range(1, count)})
    return hosts

  async def everyone() -> list:
    return await asyncio.gather(*map(one, indices), return_exceptions=True)

  return asyncio.run(everyone())


def test_all_learn_the_names_of_all():
  assert call(2, 0, 1, count=3, seconds=60) == [[HOST] * 3] * 3


def test_when_some_do_not_come_all_that_did_learn_who_is_missing():
  said = call(0, 1, 4, count=5, seconds=1.5)
  names = ", ".join(f"process {index} ({HOST})" for index in (0, 1, 4))
  for error in said:
    assert isinstance(error, OSError)
    assert str(error) == (
      "2 of 5 processes did not come within 1.5 s (jax_distributed_initialization_timeout);"
      f" missing: 2, 3; here: {names}"
    )


def test_when_the_first_does_not_come_the_others_say_where_it_should_be():
  address = free_address()
  (error,) = call(1, count=2, seconds=1, address=address)
  assert isinstance(error, OSError)
  assert re.match(f"process 0 did not answer at {address} within 1 s .*; process 1", str(error))


def test_an_index_that_is_given_twice_is_an_error():
  for error in call(0, 1, 1, count=3, seconds=60):
    assert isinstance(error, ValueError | OSError)
    assert str(error) == f"JAX_PROCESS_ID=1 is given twice: on {HOST} and on {HOST}"


def test_another_number_of_processes_is_an_error():
  address = free_address()

  async def differ() -> list:
    ours = (Cluster(address=address, count=count, index=count - 2) for count in (2, 3))
    return await asyncio.gather(*(meet(one, 60) for one in ours), return_exceptions=True)

  for error in asyncio.run(differ()):
    assert str(error) == f"process 1 ({HOST}) says 3 processes, process 0 2"


def test_a_port_that_is_taken_is_an_error():
  with socket.create_server(("127.0.0.1", 0)) as taken:
    port = taken.getsockname()[1]
    (error,) = call(0, count=2, seconds=1, address=f"127.0.0.1:{port}")
  assert isinstance(error, OSError)
  assert f"process 0 cannot listen on port {port}: Address already in use" in str(error)


def test_strangers_and_those_that_leave_again_do_not_count():
  address = free_address()
  host, port = address.split(":")

  async def visit(said: bytes) -> None:
    while True:
      try:
        _, writer = await asyncio.open_connection(host, int(port))
        break
      except OSError:
        await asyncio.sleep(0.01)
    writer.write(said)
    writer.close()
    await writer.wait_closed()

  async def everyone() -> list:
    processes = [Cluster(address=address, count=3, index=index) for index in range(3)]
    first = asyncio.create_task(meet(processes[0], 60))
    await visit(b"GET / HTTP/1.1\n")
    await visit(b'{"index": 1, "count": 3, "host": "left"}\n')
    return await asyncio.gather(first, *(meet(process, 60) for process in processes[1:]))

  assert [hosts for hosts, _ in asyncio.run(everyone())] == [[HOST] * 3] * 3
