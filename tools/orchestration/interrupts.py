"""Ctrl-C, SIGTERM and SIGHUP: the end of a run by somebody's wish."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Callable

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
  """Somebody wishes the program to end; `status` is its exit status then."""

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
    """From now on the function gets the signals; None: nobody does."""
    self._receive = receive

  def _handle(self, number: int, frame: FrameType | None) -> None:
    if self._receive is None:
      raise Interrupted(number)
    self._receive(number)
