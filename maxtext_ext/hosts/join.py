"""Membership of a command in a multi-host run, from its start to its end."""

import atexit
import contextlib
import re
import threading
import time
from collections.abc import Iterator

import jax

from maxtext_ext.errors import PEER_LOST, exit_status, leave, one_line
from maxtext_ext.hosts.cluster import find
from maxtext_ext.hosts.monitor import HostMonitor
from maxtext_ext.hosts.roll_call import LIMIT
from maxtext_ext.keys.settings import Settings
from maxtext_ext.progress import say
from maxtext_ext.run_identity import fingerprint_of_process

# An error may come of the loss of another process, whose name is the better message. Seconds.
_NEWS = 3.0
_SILENCE = 10.0  # seconds of waiting until that is said
_SHUTDOWN = 30  # seconds for what JAX does at the end, when all are done
# JAX aborts a process that hears nothing of another for so long, in pages of C++ and without its
# name. HostMonitor is quicker, also when a frozen process goes on after a while.
_JAX_HEARTBEAT = 600  # seconds
# How JAX says that another process cannot be reached, in a ValueError or a JaxRuntimeError: Gloo on
# CPUs, NCCL on GPUs, its own service on all.
_UNREACHABLE = re.compile(
  r"Gloo .*failed|NCCL.*(remote process|network error)|coordination.?service|heartbeat"
  "|Barrier timed",
  re.IGNORECASE,
)


@contextlib.contextmanager
def joined(settings: Settings) -> Iterator[None]:
  """Joins the other processes of a multi-host run, if there are any; call it before using devices.

  When one of them is lost, all end with its name and `PEER_LOST`; when one fails, the others end
  with its error and its status.

  Raises:
    OSError: not all have joined in time; names the missing ones.
    ValueError: the environment is wrong, or the configuration of another process differs.
  """
  seconds = settings.values[LIMIT]
  # Who starts the processes may have joined them already, as Ray does.
  alone = settings.skip_jax_distributed_system or jax.distributed.is_initialized()
  cluster = None if alone else find(settings.hardware, seconds)
  if cluster is None:
    yield
    return
  with _saying(f"waiting for all {cluster.count} processes of the run, up to {seconds:g} s"):
    monitor = HostMonitor(cluster, seconds, fingerprint_of_process(settings.values))
  try:
    jax.distributed.initialize(
      monitor.coordinator,
      cluster.count,
      cluster.index,
      initialization_timeout=seconds,
      heartbeat_timeout_seconds=_JAX_HEARTBEAT,
      shutdown_timeout_seconds=_SHUTDOWN,
    )
    yield
    monitor.finish()
  except BaseException as error:
    time.sleep(_NEWS)
    status = PEER_LOST if is_lost_peer(error) else exit_status(error)
    monitor.fail(one_line(error), status)
    atexit.register(leave, status)  # before JAX's own end, which waits for the others
    raise


def is_lost_peer(error: BaseException) -> bool:
  """Tells whether an error is JAX's own about a process that it cannot reach."""
  of_jax = isinstance(error, (ValueError, RuntimeError))
  return of_jax and _UNREACHABLE.search(str(error)) is not None


@contextlib.contextmanager
def _saying(line: str, *, after: float = _SILENCE) -> Iterator[None]:
  """Prints a line when the block takes longer than so many seconds."""
  timer = threading.Timer(after, say, [line])
  timer.daemon = True
  timer.start()
  try:
    yield
  finally:
    timer.cancel()
