"""Reading of clips by threads, ahead of their use and in bounded memory."""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

MOST_CLIPS = 512  # that wait
MOST_SECONDS = 7_200.0  # of their sound; as float32 it takes 460 MB


def read_ahead[T, R](
  items: Iterable[T], read: Callable[[T], R], threads: int, seconds_of: Callable[[R], float]
) -> Generator[tuple[T, R], None, None]:
  """Reads items by threads while others are used; yields each with what was read, in order.

  Up to MOST_CLIPS wait. While MOST_SECONDS of sound wait, only the next one is begun.

  Args:
    seconds_of: length of the sound of what was read.
  """
  room = _Room()
  pool = ThreadPoolExecutor(threads)
  numbered = enumerate(items)
  waiting: deque[tuple[int, T, Future[tuple[R, float]]]] = deque()

  def read_one(number: int, item: T) -> tuple[R, float]:
    room.await_turn(number)
    result = read(item)
    seconds = seconds_of(result)
    room.fill(seconds)
    return result, seconds

  try:
    while True:
      for number, item in itertools.islice(numbered, MOST_CLIPS - len(waiting)):
        waiting.append((number, item, pool.submit(read_one, number, item)))
      if not waiting:
        return
      number, item, future = waiting.popleft()
      result, seconds = future.result()
      room.leave(number, seconds)
      yield item, result
  finally:
    room.close()
    pool.shutdown(wait=False, cancel_futures=True)


class _Room:
  """Room for the sound of clips that wait."""

  def __init__(self) -> None:
    self._changed = threading.Condition()
    self._seconds = 0.0
    self._next = 0  # number of the item that is used next
    self._closed = False

  def await_turn(self, number: int) -> None:
    """Waits until there is room, or the item is the next one, without which nothing goes on."""
    with self._changed:
      self._changed.wait_for(
        lambda: self._seconds < MOST_SECONDS or number == self._next or self._closed
      )
      if self._closed:
        raise CancelledError

  def fill(self, seconds: float) -> None:
    """Takes room for an item that was read."""
    with self._changed:
      self._seconds += seconds

  def leave(self, number: int, seconds: float) -> None:
    """Gives back the room of an item that is used now."""
    with self._changed:
      self._seconds -= seconds
      self._next = number + 1
      self._changed.notify_all()

  def close(self) -> None:
    """Ends all waiting."""
    with self._changed:
      self._closed = True
      self._changed.notify_all()
