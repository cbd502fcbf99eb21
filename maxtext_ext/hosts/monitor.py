"""Monitor of a run's processes: when one is lost or frozen, the others exit and name it.

A collective operation may wait forever for a lost process, in code that Python cannot interrupt, so
the whole process is ended.

JAX's heartbeats (0.12, heartbeat_timeout_seconds=30, four processes) cannot replace it. They name a
process that is killed or frozen after 15 to 24 s, by its number, but never process 0, nor one that
is missing at the start. The others end by SIGABRT under pages of C++, not with a status that
asks for a restart; the callback that could choose one ends in std::bad_cast.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Coroutine, Mapping
from typing import Any

from maxtext_ext.errors import PEER_LOST, STDERR
from maxtext_ext.escape import printable
from maxtext_ext.hosts.cluster import Cluster
from maxtext_ext.hosts.link import MAX_TEXT, Link
from maxtext_ext.hosts.relay import Relay
from maxtext_ext.hosts.roll_call import meet, name

BEAT = 5.0  # seconds from one sign of life to the next
MISSED = 8  # beats without one until a process counts as frozen
_TELL = 2.0  # seconds at most to tell the others before the end
_LATER = 0.5  # seconds from the end of a process that failed to that of the next


class HostMonitor:
  """Heartbeats with the other processes, sent and checked by a thread.

  Every process sends heartbeats from that thread. Work in other threads delays them only while
  it holds Python's lock, which compiling, computing and reading do not.

  Args:
    cluster: the processes of the run.
    seconds: time limit for all to join.
    facts: values that must be equal on all.
    beat: seconds between heartbeats.

  Attributes:
    coordinator: the address of JAX's service for this process.

  Raises:
    OSError, ValueError: as `roll_call.meet`.
  """

  def __init__(
    self,
    cluster: Cluster,
    seconds: float,
    facts: Mapping[str, str] | None = None,
    *,
    beat: float = BEAT,
  ) -> None:
    self._loop = asyncio.new_event_loop()
    threading.Thread(target=self._loop.run_forever, name="hosts", daemon=True).start()
    self._index = cluster.index
    self._hosts, self._links = self._call(meet(cluster, seconds, facts))
    self._silent = dict.fromkeys(self._links, 0)  # beats since a process was heard
    self._finished: set[int] = set()  # processes whose work is done
    self._over = asyncio.Event()  # that of all
    self._ending = False
    self.coordinator = cluster.address
    if cluster.index:
      self.coordinator = self._call(Relay(cluster.host, cluster.port).listen())
    served = [self._beat(beat), *(self._listen(index, link) for index, link in self._links.items())]
    self._tasks = [asyncio.run_coroutine_threadsafe(each, self._loop) for each in served]

  def _call[T](self, coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine on the thread and returns its result."""
    return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

  def finish(self) -> None:
    """Reports that this process is done; returns when all are."""
    self._call(self._finish(self._index))
    self._call(self._over.wait())

  def fail(self, reason: str, status: int) -> None:
    """Reports why this process fails; it and the others exit with this status."""
    self._ending = True
    self._call(self._tell(f"{self._name(self._index)} stopped: {reason}", status))
    # Threads may wait for the others, and Python for the threads.
    self._loop.call_soon_threadsafe(self._loop.call_later, _TELL, os._exit, status)

  def _name(self, index: int) -> str:
    return name(index, self._hosts[index])

  async def _beat(self, seconds: float) -> None:
    """Sends heartbeats, and counts missing ones of the others.

    The number of own beats without one counts, not the time: a process that was frozen or not
    scheduled first reads what arrived meanwhile.
    """
    while not self._over.is_set():
      await self._say(alive=True)
      await asyncio.sleep(seconds)
      for index in self._silent:
        self._silent[index] += 1
        if self._silent[index] > MISSED:
          await self._end(
            f"{self._name(index)} has sent no heartbeat for {seconds * MISSED:g} s: it is"
            " stopped (SIGSTOP, a debugger), or its machine or the network to it hangs"
          )

  async def _listen(self, index: int, link: Link) -> None:
    """Receives the messages of a process until its connection closes."""
    while (message := await link.receive()) is not None:
      self._silent[index] = 0
      match message:
        case {"finished": True}:
          await self._finish(index)
        case {"ended": str(text), "status": int(status)} if 0 < status < 256:
          await self._outlast(link)
          await self._end(text, status)
    if not self._over.is_set():
      await self._end(
        f"{self._name(index)} is gone: it was killed, or its machine or the network to it failed"
      )

  async def _outlast(self, link: Link) -> None:
    """Waits for the exit of a process that has announced it.

    Whoever started the processes takes the first that ends for the cause.
    """
    with contextlib.suppress(TimeoutError):
      async with asyncio.timeout(2 * _TELL):
        while await link.receive() is not None:
          pass
    await asyncio.sleep(_LATER)

  async def _finish(self, index: int) -> None:
    """Notes that a process is done; process 0 knows when all are, and reports it."""
    self._finished.add(index)
    if self._index == 0 and len(self._finished) == len(self._hosts):
      await self._say(finished=True)
      self._over.set()
    elif self._index and index == 0:
      self._over.set()
    elif self._index and index == self._index:
      await self._say(finished=True)

  async def _say(self, **message: Any) -> None:
    await asyncio.gather(*(link.send(**message) for link in self._links.values()))

  async def _tell(self, text: str, status: int) -> None:
    with contextlib.suppress(TimeoutError):
      async with asyncio.timeout(_TELL):
        await self._say(ended=text, status=status)

  async def _end(self, text: str, status: int = PEER_LOST) -> None:
    """Ends this process, unless it is ending by itself.

    Args:
      status: that of the process that failed, so that an error which no restart fixes has the
        same status on all hosts.
    """
    if self._ending:
      return
    self._ending = True
    await self._tell(text, status)
    shown = "\n\x1b[?25h" if os.isatty(STDERR) else ""  # a progress bar hides the cursor
    text = printable(text[:MAX_TEXT])
    line = f"{shown}error: {text}; to resume, run the same command on every host\n"
    os.write(STDERR, line.encode())
    os._exit(status)
