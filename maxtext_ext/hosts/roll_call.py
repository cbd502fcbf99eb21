"""Start-up barrier of a multi-host run: process 0 waits for all, and names those missing.

Process 0 listens at the address of JAX's later service, and then frees the port; the connections
stay open. It sends each that connects a challenge; the answer is a report with an HMAC
over both, under the run's secret (`MAXTEXT_EXT_RUN_SECRET`, set by the launcher; empty without
one). So the secret is never sent, and a recorded report cannot be replayed. Connections with
another answer are rejected, without effect.
"""

import asyncio
import contextlib
import hmac
import os
import secrets
import socket
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from maxtext_ext.escape import printable
from maxtext_ext.hosts.cluster import INDEX, Cluster
from maxtext_ext.hosts.link import MAX_LINE, MAX_TEXT, Link
from maxtext_ext.run_identity import describe_differences

LIMIT = "jax_distributed_initialization_timeout"  # the key
SECRET = "MAXTEXT_EXT_RUN_SECRET"  # the variable
_RETRY = 0.5  # seconds
_MARGIN = 10  # seconds that process 0 has to answer after its limit
_REPORT_SECONDS = 20.0  # for a report after a connection; who is one of ours tries again
# Connections without a report at a time, beside one of each process; of more, the oldest is closed:
# a process of the run reports at once.
_UNKNOWN = 64
_NAMED = 8  # differences in a message
_LABELS = ("is", "on process 0")


class _Report(BaseModel):
  """A process's answer to the challenge."""

  model_config = ConfigDict(strict=True, extra="forbid")

  index: Annotated[int, Field(ge=1)]
  count: int
  host: Annotated[str, StringConstraints(min_length=1, max_length=255)]
  facts: dict[str, str]


class _Stranger(Exception):
  """Connection that is not from a process of this run; the text says why."""


def name(index: int, host: str) -> str:
  """Names a process for messages."""
  return f"process {index} ({printable(host)})"


async def meet(
  cluster: Cluster, seconds: float, facts: Mapping[str, str] | None = None
) -> tuple[list[str], dict[int, Link]]:
  """Waits until all processes of the run have joined.

  Args:
    facts: values by name that must be equal on all processes.

  Returns:
    the names of their hosts, in order, and links: of process 0 to every other by its index, of the
    others to process 0.

  Raises:
    OSError: some have not come within `seconds`, or process 0 cannot be reached.
    ValueError: two processes have the same index, or differ about the number of processes, the
      facts or the secret.
  """
  facts = dict(facts or {})
  secret = os.environ.get(SECRET, "")
  if cluster.index:
    return await _report(cluster, seconds, facts, secret)
  call = _Call(cluster, facts, secret)
  host = os.environ.get("JAX_COORDINATOR_BIND_ADDRESS", "").rpartition(":")[0].strip("[]")
  try:
    server = await asyncio.start_server(call.take, host or None, cluster.port, limit=MAX_LINE)
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
    call.close_unknown()
  await call.tell(hosts=call.hosts)
  return call.hosts, call.links


class _Call:
  """Processes that have reported to process 0."""

  def __init__(self, cluster: Cluster, facts: dict[str, str], secret: str) -> None:
    self.complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    self.links: dict[int, Link] = {}
    self._cluster = cluster
    self._facts = facts
    self._secret = secret
    self._names = {0: socket.gethostname()}
    self._unknown: list[Link] = []  # the oldest first
    self._turned_away = ""  # the last stranger

  @property
  def hosts(self) -> list[str]:
    """Names of the hosts of all processes."""
    return [self._names[index] for index in range(self._cluster.count)]

  async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes a connection and its report."""
    link = Link(reader, writer)
    self._unknown.append(link)
    if len(self._unknown) > _UNKNOWN + self._cluster.count:
      self._unknown[0].close()  # its own `take` ends with that
      del self._unknown[0]
    try:
      async with asyncio.timeout(_REPORT_SECONDS):
        report = await self._hear(link)
    except (TimeoutError, _Stranger) as error:
      self._turned_away = f"; turned away: {link.peer}, which {str(error) or 'said nothing'}"
      link.close()
      return
    finally:
      with contextlib.suppress(ValueError):  # it was the oldest
        self._unknown.remove(link)
    if self.complete.done():
      link.close()
      return
    if problem := self._problem(report):
      self.complete.set_exception(ValueError(problem))
      await link.send(refused=problem)
      return
    self.links[report.index], self._names[report.index] = link, report.host
    if not self._absent():
      self.complete.set_result(None)

  async def _hear(self, link: Link) -> _Report:
    """Receives the report of a process that knows the secret."""
    challenge = secrets.token_hex(32)
    await link.send(challenge=challenge, secret=bool(self._secret))
    match await link.receive():
      case {"report": str(text), "proof": str(proof)}:
        pass
      case _:
        raise _Stranger("is no process of a run")
    if not hmac.compare_digest(proof.encode(), _proof(self._secret, challenge, text).encode()):
      await link.send(refused=f"the {SECRET} of process 0 is another: give the same on every host")
      raise _Stranger(f"has another {SECRET}")
    try:
      return _Report.model_validate_json(text)
    except ValidationError as error:
      raise _Stranger("sent a report that cannot be") from error

  def _problem(self, report: _Report) -> str:
    """Explains why the run cannot start with this process; empty: it can."""
    who = name(report.index, report.host)
    before = self.links.get(report.index)
    if report.count != self._cluster.count:
      return f"{who} says {report.count} processes, process 0 {self._cluster.count}"
    if report.index >= report.count:
      return f"{who} is one too many of {report.count} processes: expected 0 to {report.count - 1}"
    if before is not None and not before.closed:
      hosts = (printable(host) for host in (self._names[report.index], report.host))
      return f"{INDEX}={report.index} is given twice: on {' and on '.join(hosts)}"
    if different := describe_differences(report.facts, self._facts, labels=_LABELS):
      more = f" and {len(different) - _NAMED} more" if len(different) > _NAMED else ""
      return (
        f"{who} was started otherwise than process 0: {', '.join(different[:_NAMED])}{more};"
        " give the same command and environment on every host"
      )
    return ""

  def _absent(self) -> list[int]:
    there = {index for index, link in self.links.items() if not link.closed}
    return sorted({*range(1, self._cluster.count)} - there)

  def missing(self, seconds: float) -> str:
    """Lists the missing processes, and those that joined."""
    absent = self._absent()
    here = [index for index in range(self._cluster.count) if index not in absent]
    return (
      f"{len(absent)} of {self._cluster.count} processes did not come within {seconds:g} s"
      f" ({LIMIT}); missing: {', '.join(map(str, absent))};"
      f" here: {', '.join(name(index, self._names[index]) for index in here)}{self._turned_away}"
    )

  async def tell(self, **message: object) -> None:
    """Sends a message to all processes that came."""
    await asyncio.gather(*(link.send(**message) for link in self.links.values()))

  def close_unknown(self) -> None:
    """Ends the connections that no report came from."""
    for link in self._unknown:
      link.close()


def _proof(secret: str, challenge: str, report: str) -> str:
  return hmac.new(os.fsencode(secret), f"{challenge} {report}".encode(), "sha256").hexdigest()


async def _report(
  cluster: Cluster, seconds: float, facts: dict[str, str], secret: str
) -> tuple[list[str], dict[int, Link]]:
  host = socket.gethostname()
  report = _Report(index=cluster.index, count=cluster.count, host=host, facts=facts)
  clock = asyncio.get_running_loop().time
  deadline = clock() + seconds
  while clock() < deadline:
    try:
      async with asyncio.timeout(seconds + _MARGIN):
        link = await Link.to(cluster.host, cluster.port)
        answer = await _answer(link, report.model_dump_json(), secret)
    except OSError:  # TimeoutError is one
      answer = None
    match answer:
      case {"hosts": list(hosts)} if len(hosts) == cluster.count:
        return [str(each) for each in hosts], {0: link}
      case {"refused": str(text)}:
        raise OSError(text[:MAX_TEXT])
    await asyncio.sleep(_RETRY)
  raise OSError(
    f"process 0 did not answer at {cluster.address} within {seconds:g} s ({LIMIT});"
    f" {name(cluster.index, host)} is here: start the same command on the host of that address, and"
    " see that its port can be reached"
  )


async def _answer(link: Link, report: str, secret: str) -> dict[str, object] | None:
  """Returns the answer of process 0 to the report; None: it is gone, or is none."""
  match await link.receive():
    case {"challenge": str(challenge), "secret": bool(asked)}:
      pass
    case _:
      link.close()
      return None
  if asked != bool(secret):
    link.close()
    there, here = ("with", "without") if asked else ("without", "with")
    raise ValueError(
      f"process 0 was started {there} {SECRET}, this process {here}: give the same on every host"
    )
  await link.send(report=report, proof=_proof(secret, challenge, report))
  return await link.receive()
