"""The start of a run on several hosts: process 0 waits until all have come, and says who has not.

It listens at the address where JAX's own service will be, and leaves the port to it: the
connections stay open.
"""

import asyncio
import os
import socket

from maxtext_ext.hosts.cluster import INDEX, Cluster
from maxtext_ext.hosts.link import Link

LIMIT = "jax_distributed_initialization_timeout"  # the key
_RETRY = 0.5  # seconds
_MARGIN = 10  # seconds that process 0 has to answer after its limit


def name(index: int, host: str) -> str:
  """How a process is called in messages."""
  return f"process {index} ({host})"


async def meet(cluster: Cluster, seconds: float) -> tuple[list[str], dict[int, Link]]:
  """Waits until all processes of the run have come.

  Returns:
    the names of their hosts, in order, and links: of process 0 to every other by its index, of the
    others to process 0.

  Raises:
    OSError: some have not come within `seconds`, or process 0 cannot be reached.
    ValueError: two processes have the same index, or differ about the number of processes.
  """
  if cluster.index:
    return await _report(cluster, seconds)
  call = _Call(cluster)
  host = os.environ.get("JAX_COORDINATOR_BIND_ADDRESS", "").rpartition(":")[0].strip("[]")
  try:
    server = await asyncio.start_server(call.take, host or None, cluster.port)
  except OSError as error:
    raise OSError(
      f"process 0 cannot listen on port {cluster.port}: {os.strerror(error.errno or 0)}; another"
      " run may be there: end it, or give another port"
    ) from error
  try:
    await asyncio.wait_for(call.complete, seconds)
  except (TimeoutError, ValueError) as error:
    text = str(error) or call.missing(seconds)
    await call.tell(refused=text)
    raise (ValueError if isinstance(error, ValueError) else OSError)(text) from error
  finally:
    server.close()
  await call.tell(hosts=call.hosts)
  return call.hosts, call.links


class _Call:
  """Who has come to process 0."""

  def __init__(self, cluster: Cluster) -> None:
    self.complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    self.links: dict[int, Link] = {}
    self._cluster = cluster
    self._names = {0: socket.gethostname()}

  @property
  def hosts(self) -> list[str]:
    """Names of the hosts of all processes."""
    return [self._names[index] for index in range(self._cluster.count)]

  async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Notes one that comes."""
    link = Link(reader, writer)
    match await link.receive():
      case {"index": int(index), "count": int(count), "host": str(host)}:
        pass
      case _:  # a stranger
        link.close()
        return
    if self.complete.done():
      link.close()
      return
    before = self.links.get(index)
    problem = ""
    if count != self._cluster.count:
      problem = f"{name(index, host)} says {count} processes, process 0 {self._cluster.count}"
    elif before is not None and not before.closed:
      problem = f"{INDEX}={index} is given twice: on {self._names[index]} and on {host}"
    if problem:
      self.complete.set_exception(ValueError(problem))
      await link.send(refused=problem)
      return
    self.links[index], self._names[index] = link, host
    if not self._absent():
      self.complete.set_result(None)

  def _absent(self) -> list[int]:
    there = {index for index, link in self.links.items() if not link.closed}
    return sorted({*range(1, self._cluster.count)} - there)

  def missing(self, seconds: float) -> str:
    """Who is missing after so long, and who is not."""
    absent = self._absent()
    here = [index for index in range(self._cluster.count) if index not in absent]
    return (
      f"{len(absent)} of {self._cluster.count} processes did not come within {seconds:g} s"
      f" ({LIMIT}); missing: {', '.join(map(str, absent))};"
      f" here: {', '.join(name(index, self._names[index]) for index in here)}"
    )

  async def tell(self, **message: object) -> None:
    """Says something to all that have come."""
    await asyncio.gather(*(link.send(**message) for link in self.links.values()))


async def _report(cluster: Cluster, seconds: float) -> tuple[list[str], dict[int, Link]]:
  me = name(cluster.index, host := socket.gethostname())
  clock = asyncio.get_running_loop().time
  deadline = clock() + seconds
  while clock() < deadline:
    try:
      async with asyncio.timeout(seconds + _MARGIN):
        link = await Link.to(cluster.host, cluster.port)
        await link.send(index=cluster.index, count=cluster.count, host=host)
        answer = await link.receive()
    except OSError:  # TimeoutError is one
      answer = None
    match answer:
      case {"hosts": list(hosts)}:
        return hosts, {0: link}
      case {"refused": str(text)}:
        raise OSError(text)
    await asyncio.sleep(_RETRY)
  raise OSError(
    f"process 0 did not answer at {cluster.address} within {seconds:g} s ({LIMIT}); {me} is here:"
    " start the same command on the host of that address, and see that its port can be reached"
  )
