"""Grain iterators that work in threads and stop with their owner, or when the program ends."""

import weakref
from typing import Any


class Owner:
  """Owns a grain iterator.

  Grain's iterators stop their threads in `__del__`, which at the end of a program runs after the
  modules it needs are gone; so they are closed and let go of before.
  """

  def __init__(self, iterator: Any) -> None:
    self._held = [iterator]
    self._close = weakref.finalize(self, _close, self._held)

  @property
  def _iterator(self) -> Any:
    if not self._held:
      raise ValueError("the iterator is closed")
    return self._held[0]

  def close(self) -> None:
    """Stops the threads; nothing more can be read."""
    self._close()


def _close(held: list[Any]) -> None:
  while held:
    held.pop().close()
