"""Ctrl-C, SIGTERM and SIGHUP: requests of the user to end a run."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Callable

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
  """Request of the user to end the program with exit status `status`."""

  def __init__(self, number: int) -> None:
    super().__init__(f"interrupted by {signal.Signals(number).name}")
    self.status = 128 + number


class Interrupts:
  """Turns the signals into calls of a function, or into `Interrupted` where there is none."""

  def __init__(self) -> None:
    self._receive: Callable[[int], None] | None = None
    for number in _SIGNALS:
      # Under nohup SIGHUP stays ignored.
      if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, self._handle)

  def hand_to(self, receive: Callable[[int], None] | None) -> None:
    """Passes later signals to the function; None: raises `Interrupted`."""
    self._receive = receive

  def _handle(self, number: int, frame: FrameType | None) -> None:
    if self._receive is None:
      raise Interrupted(number)
    self._receive(number)
