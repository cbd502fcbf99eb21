"""All come, or it is said who has not."""

import asyncio
import json
import re
import socket

import pytest

from maxtext_ext.hosts import roll_call
from maxtext_ext.hosts.cluster import Cluster
from maxtext_ext.hosts.roll_call import SECRET, meet
from tests.train.processes import free_address

HOST = socket.gethostname()


def call(*indices: int, count: int, seconds: float, address: str = "") -> list:
  """Answers to each of these processes, at one address: hosts, or an error."""
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


class Visitor:
  """One that connects to process 0 as anybody could."""

  def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    self._reader, self._writer = reader, writer

  @classmethod
  async def to(cls, address: str) -> "Visitor":
    host, port = address.split(":")
    while True:
      try:
        return cls(*await asyncio.open_connection(host, int(port)))
      except OSError:
        await asyncio.sleep(0.01)

  async def hear(self) -> dict:
    return json.loads(await self._reader.readline())

  def say(self, said: bytes) -> None:
    self._writer.write(said)

  async def report(self, *, secret: str = "", **report: object) -> None:
    """A report as the protocol wants it, of any content."""
    challenge = (await self.hear())["challenge"]
    text = json.dumps(report)
    proof = roll_call._proof(secret, challenge, text)
    self.say(json.dumps({"report": text, "proof": proof}).encode() + b"\n")

  async def ended(self) -> None:
    """Returns when process 0 has closed the connection."""
    await asyncio.wait_for(self._reader.read(), 60)

  async def leave(self) -> None:
    self._writer.close()
    await self._writer.wait_closed()


async def meet_after(visit, count: int = 3) -> list[list[str]]:
  """The hosts that each process of a run learns; a visit to process 0 comes before the others."""
  address = free_address()
  processes = [Cluster(address=address, count=count, index=index) for index in range(count)]
  first = asyncio.create_task(meet(processes[0], 60))
  await visit(address)
  met = await asyncio.gather(first, *(meet(process, 60) for process in processes[1:]))
  return [hosts for hosts, _ in met]


GOOD = {"index": 1, "count": 3, "host": "there", "facts": {}}


@pytest.mark.parametrize(
  "said",
  [
    b"",
    b"GET / HTTP/1.1\r\n\r\n",
    b'{"index": -1, "count": 2, "host": "\\u001b[2J"}\n',
    b'{"report": "{}", "proof": "\xc3\xa4"}\n',
    b'{"report": 1, "proof": ""}\n',
    b"[" * 100_000 + b"\n",
    b"\xff\x00" * 2**20,
  ],
  ids=["nothing", "http", "blind", "letter", "number", "deep", "long"],
)
def test_strangers_change_nothing(said):
  async def visit(address: str) -> None:
    stranger = await Visitor.to(address)
    stranger.say(said)
    await stranger.leave()

  assert asyncio.run(meet_after(visit)) == [[HOST] * 3] * 3


@pytest.mark.parametrize(
  "wrong",
  [
    {"index": -1},
    {"index": 0},
    {"index": True},
    {"index": 1.0},
    {"host": "h" * 256},
    {"host": ""},
    {"host": 7},
    {"facts": {"a": 1}},
    {"more": 1},
  ],
  ids=str,
)
def test_a_report_that_cannot_be_changes_nothing(wrong):
  async def visit(address: str) -> None:
    stranger = await Visitor.to(address)
    await stranger.report(**GOOD | wrong)
    await stranger.ended()

  assert asyncio.run(meet_after(visit)) == [[HOST] * 3] * 3


def test_one_that_leaves_again_does_not_count():
  async def visit(address: str) -> None:
    stranger = await Visitor.to(address)
    await stranger.report(**GOOD)
    await stranger.leave()

  assert asyncio.run(meet_after(visit)) == [[HOST] * 3] * 3


def test_those_that_say_nothing_are_dropped_and_take_nobodys_place(monkeypatch):
  monkeypatch.setattr(roll_call, "_UNKNOWN", 2)
  monkeypatch.setattr(roll_call, "_REPORT_SECONDS", 3.0)

  async def visit(address: str) -> None:
    silent = [await Visitor.to(address) for _ in range(9)]
    await asyncio.gather(*(stranger.ended() for stranger in silent))

  assert asyncio.run(meet_after(visit)) == [[HOST] * 3] * 3


def test_a_run_with_a_secret_begins_without_those_that_have_another(monkeypatch):
  monkeypatch.setenv(SECRET, "of this run")

  async def visit(address: str) -> None:
    stranger = await Visitor.to(address)
    await stranger.report(**GOOD, secret="guessed")
    assert await stranger.hear() == {
      "refused": f"the {SECRET} of process 0 is another: give the same on every host"
    }
    await stranger.ended()

  assert asyncio.run(meet_after(visit)) == [[HOST] * 3] * 3


def test_an_answer_that_was_overheard_is_worth_nothing(monkeypatch):
  monkeypatch.setenv(SECRET, "of this run")

  async def visit(address: str) -> None:
    overheard = json.dumps(GOOD)
    stranger = await Visitor.to(address)
    proof = roll_call._proof("of this run", "0" * 64, overheard)
    stranger.say(json.dumps({"report": overheard, "proof": proof}).encode() + b"\n")
    await stranger.ended()

  assert asyncio.run(meet_after(visit)) == [[HOST] * 3] * 3


@pytest.mark.parametrize("there", [True, False])
def test_a_secret_on_some_hosts_only_is_an_error(monkeypatch, there):
  async def differ() -> tuple[str, str]:
    address = free_address()
    monkeypatch.setenv(SECRET, "s" if there else "")
    first = asyncio.create_task(meet(Cluster(address=address, count=2, index=0), 3.0))
    await asyncio.sleep(0)
    monkeypatch.setenv(SECRET, "" if there else "s")
    second = meet(Cluster(address=address, count=2, index=1), 60)
    return tuple(map(str, await asyncio.gather(first, second, return_exceptions=True)))

  waited, refused = asyncio.run(differ())
  words = ("with", "without") if there else ("without", "with")
  assert refused == (
    f"process 0 was started {words[0]} {SECRET}, this process {words[1]}: give the same on every"
    " host"
  )
  assert waited.endswith("turned away: 127.0.0.1, which is no process of a run")


def test_processes_that_were_given_other_keys_are_refused_with_their_names():
  address = free_address()
  facts = {"learning_rate": "0.002", "steps": "5", "context": "\x1b[2J"}
  theirs = {**facts, "learning_rate": "0.5", "only": "x" * 1_000}

  async def differ() -> list:
    ours = (
      meet(Cluster(address=address, count=2, index=index), 60, said)
      for index, said in enumerate((facts, theirs))
    )
    return await asyncio.gather(*ours, return_exceptions=True)

  for error in asyncio.run(differ()):
    assert isinstance(error, ValueError | OSError)
    assert str(error) == (
      f"process 1 ({HOST}) was started otherwise than process 0: learning_rate is 0.5, on process 0"
      f" 0.002, only is {'x' * 60}..., on process 0 nothing; give the same command and environment"
      " on every host"
    )


def test_of_many_differences_the_first_are_named():
  async def differ() -> str:
    address = free_address()
    first = asyncio.create_task(meet(Cluster(address=address, count=2, index=0), 60))
    other = await Visitor.to(address)
    await other.report(**GOOD | {"count": 2, "facts": {f"k{i:04}": "v" for i in range(1_000)}})
    return str((await asyncio.gather(first, return_exceptions=True))[0])

  said = asyncio.run(differ())
  assert "k0007 is v" in said and "k0008" not in said and "and 992 more" in said


def test_what_a_host_calls_itself_is_escaped():
  async def ask() -> BaseException:
    address = free_address()
    first = asyncio.create_task(meet(Cluster(address=address, count=3, index=0), 60))
    both = [await Visitor.to(address) for _ in range(2)]
    for each in both:
      await each.report(**GOOD | {"host": "\x1b[2J"})
    return (await asyncio.gather(first, return_exceptions=True))[0]

  assert str(asyncio.run(ask())) == r"JAX_PROCESS_ID=1 is given twice: on \x1b[2J and on \x1b[2J"
