"""Windows that the tails of several clips share."""

import functools

import numpy as np


class TailPacker:
  """Bin packing of tails into windows of `size` chunks; knows where each tail stands."""

  def __init__(self, size: int) -> None:
    self._size = size
    self.windows = 0
    self.places: list[
      tuple[int, int]
    ] = []  # (window, first chunk) in order of adding; (-1, -1): no tail
    self._open: list[list[int]] = [[] for _ in range(size)]  # windows by free chunks

  @classmethod
  def of(cls, tails: list[int], size: int) -> "TailPacker":
    """Bins of tails that are known together: the longest is placed first, which wastes less."""
    bins = cls(size)
    order = sorted(range(len(tails)), key=lambda i: -tails[i])
    for i in order:
      bins.add(tails[i])
    places = dict(zip(order, bins.places, strict=True))
    bins.places = [places[i] for i in range(len(tails))]
    return bins

  def add(self, tail: int) -> None:
    """Places a tail of so many chunks (0: none) where it leaves least room, or in a new window."""
    if not tail:
      self.places.append((-1, -1))
      return
    free = next((f for f in range(tail, self._size) if self._open[f]), self._size)
    if free < self._size:
      window = self._open[free].pop()
    else:
      window, self.windows = self.windows, self.windows + 1
    self.places.append((window, self._size - free))
    if free > tail:
      self._open[free - tail].append(window)

  def windows_for_one(self) -> np.ndarray:
    """int [size]: windows that one more tail of each length (0 to size - 1) opens: 0 or 1."""
    return _windows_for_more(self._two_of_each(), self._size)[0]

  def windows_for_two(self) -> np.ndarray:
    """int [size, size]: windows (0 to 2) that two more tails open, the longer added first."""
    return _windows_for_more(self._two_of_each(), self._size)[1]

  def _two_of_each(self) -> tuple[int, ...]:
    """Free chunks of the open windows, ascending; of equal ones no more than two tails can use."""
    return tuple(free for free, windows in enumerate(self._open) for _ in windows[:2])


@functools.lru_cache(maxsize=4096)
def _windows_for_more(opened: tuple[int, ...], size: int) -> tuple[np.ndarray, np.ndarray]:
  """`windows_for_one` and `windows_for_two` for open windows of so many free chunks each."""
  one = (np.arange(size) > max(opened, default=0)).astype(np.int32)
  two = np.zeros((size, size), np.int32)
  for longer in range(1, size):
    free = next((free for free in opened if free >= longer), size)
    others = list(opened)
    if free in others:
      others.remove(free)
    largest = max([free - longer, *others])
    for shorter in range(longer + 1):
      two[longer, shorter] = (free == size) + (shorter > largest)
  two = np.maximum(two, two.T)
  one.flags.writeable = two.flags.writeable = False
  return one, two
