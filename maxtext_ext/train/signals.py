"""Requests to stop a run by SIGTERM or Ctrl-C: it finishes its step, saves and reports."""

import os
import signal
import threading
from types import FrameType
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from maxtext_ext.errors import STDERR

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
  """Handler of SIGTERM and the first SIGINT; a second SIGINT interrupts at once.

  A signal that the parent process ignored (`train &` in a script) stays ignored.

  Attributes:
    name: of the signal that this process was sent; empty: none.
    status: with which a process that stopped for it ends, as shells count: 128 and the signal's
      number. A command that follows it (`train && decode`) is then not run. Where another host was
      sent the signal, that of SIGTERM.
  """

  def __init__(self) -> None:
    self.name = ""
    self.status = _status(signal.SIGTERM)
    self._before: dict[int, Any] = {}
    self._votes: jax.Array | None = None

  def __enter__(self) -> Self:
    # Python gives signals to its main thread only.
    if threading.current_thread() is threading.main_thread():
      taken = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
      self._before = {number: signal.signal(number, self._note) for number in taken}
    return self

  def _note(self, number: int, frame: FrameType | None) -> None:
    del frame
    self.name, self.status = signal.Signals(number).name, _status(number)
    said = f"\n{self.name}: the step under way ends, then the run is saved"
    if number == signal.SIGINT:
      signal.signal(number, signal.default_int_handler)
      said += "; once more stops it at once"
    os.write(STDERR, f"{said}\n".encode())  # print may be what was interrupted

  def asked(self) -> bool:
    """Returns whether to stop before the next step; every host calls it and gets the same.

    With several hosts the answer is that of the previous call: votes are counted on the devices
    after a finished step, so no host waits.
    """
    if jax.process_count() == 1:
      return bool(self.name)
    before, self._votes = self._votes, _count(bool(self.name))
    return before is not None and int(before) > 0

  def __exit__(self, *exc: object) -> None:
    for number, handler in self._before.items():
      # None: a handler that was not Python's, which cannot be put back.
      signal.signal(number, signal.SIG_DFL if handler is None else handler)
    self._before = {}


def _status(number: int) -> int:
  return 128 + number


def _count(vote: bool) -> jax.Array:
  """Counts the devices whose hosts say yes, on every device."""
  mesh = Mesh(np.asarray(jax.devices()), ("devices",))
  votes = np.full(jax.local_device_count(), vote, np.int32)
  rows = NamedSharding(mesh, PartitionSpec("devices"))
  everywhere = NamedSharding(mesh, PartitionSpec())
  return jax.jit(jnp.sum, out_shardings=everywhere)(
    jax.make_array_from_process_local_data(rows, votes)
  )
