"""Reading of clips by threads, ahead of their use and in bounded memory."""

import contextlib
import itertools
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

MOST_CLIPS = 512  # that wait
MOST_SECONDS = 7_200.0  # of their sound; as float32 it takes 460 MB
_ON_TOP = 1.5


def read_ahead[T, R](
  items: Iterable[T],
  read: Callable[[T], Generator[R, None, None]],
  threads: int,
  seconds_of: Callable[[R], float],
) -> Generator[tuple[T, R], None, None]:
  """Reads items by threads while others are used; yields each part with its item, in order.

  Up to MOST_CLIPS items wait, with MOST_SECONDS of sound. The item that is used now may read half
  as much on top of it, so that others do not slow it down, and its next part in any case.

  Args:
    read: reads the parts of an item.
    seconds_of: length of the sound of a part.
  """
  room = _Room()
  pool = ThreadPoolExecutor(threads)
  numbered = enumerate(items)
  waiting: deque[tuple[T, _Parts[R], Future[None]]] = deque()

  def read_all(item: T, parts: _Parts[R]) -> None:
    with contextlib.closing(read(item)) as source:
      while True:
        room.await_turn(parts)
        part = next(source, None)
        if part is None:
          return
        room.put(parts, part, seconds_of(part))

  try:
    while True:
      for number, item in itertools.islice(numbered, MOST_CLIPS - len(waiting)):
        parts = _Parts[R](number)
        future = pool.submit(read_all, item, parts)
        future.add_done_callback(room.note_end)
        waiting.append((item, parts, future))
      if not waiting:
        return
      item, parts, future = waiting[0]
      while (part := room.take(parts, future)) is not None:
        yield item, part
      waiting.popleft()
      room.leave(parts)
      future.result()  # raises what `read` has raised
  finally:
    room.close()
    pool.shutdown(wait=False, cancel_futures=True)


class _Parts[R]:
  """Parts of an item that wait, each with its seconds of sound."""

  def __init__(self, number: int) -> None:
    self.number = number
    self.waiting: deque[tuple[R, float]] = deque()


class _Room:
  """Room for the sound of parts that wait."""

  def __init__(self) -> None:
    self._changed = threading.Condition()
    self._seconds = 0.0
    self._next = 0  # number of the item that is used next
    self._closed = False

  def await_turn(self, parts: _Parts) -> None:
    """Waits until there is room for the next part, or nothing goes on without it."""

    def has_room() -> bool:
      if parts.number > self._next:
        return self._seconds < MOST_SECONDS
      return not parts.waiting or self._seconds < _ON_TOP * MOST_SECONDS

    with self._changed:
      self._changed.wait_for(lambda: self._closed or has_room())
      if self._closed:
        raise CancelledError

  def put[R](self, parts: _Parts[R], part: R, seconds: float) -> None:
    """Adds a part that was read."""
    with self._changed:
      parts.waiting.append((part, seconds))
      self._seconds += seconds
      self._changed.notify_all()

  def take[R](self, parts: _Parts[R], future: Future[None]) -> R | None:
    """Waits for the next part; None: the item has ended."""
    with self._changed:
      self._changed.wait_for(lambda: parts.waiting or future.done())
      if not parts.waiting:
        return None
      part, seconds = parts.waiting.popleft()
      self._seconds -= seconds
      self._changed.notify_all()
      return part

  def leave(self, parts: _Parts) -> None:
    """Goes on to the next item."""
    with self._changed:
      self._next = parts.number + 1
      self._changed.notify_all()

  def note_end(self, _: Future[None]) -> None:
    """Tells that an item has ended."""
    with self._changed:
      self._changed.notify_all()

  def close(self) -> None:
    """Ends all waiting."""
    with self._changed:
      self._closed = True
      self._changed.notify_all()
