"""Packing of clips' last, partial windows ("tails") into shared windows."""

import functools

import numpy as np


class TailPacker:
  """Best-fit bin packing of tails into windows of `size` chunks; keeps the place of each tail."""

  def __init__(self, size: int) -> None:
    self._size = size
    self.windows = 0
    self.places: list[
      tuple[int, int]
    ] = []  # (window, first chunk) in order of adding; (-1, -1): no tail
    self._open: list[list[int]] = [[] for _ in range(size)]  # windows by free chunks

  @classmethod
  def of(cls, tails: list[int], size: int) -> "TailPacker":
    """Packs tails that are known together, the longest first, which wastes less."""
    bins = cls(size)
    order = sorted(range(len(tails)), key=lambda i: -tails[i])
    for i in order:
      bins.add(tails[i])
    places = dict(zip(order, bins.places, strict=True))
    bins.places = [places[i] for i in range(len(tails))]
    return bins

  def add(self, tail: int) -> None:
    """Places a tail of so many chunks (0: none) where it leaves least space, or in a new window."""
    if not tail:
      self.places.append((-1, -1))
      return
    # Best fit: the open window with the fewest free chunks that suffice, else a new one.
    free = next((f for f in range(tail, self._size) if self._open[f]), self._size)
    if free < self._size:
      window = self._open[free].pop()
    else:
      window, self.windows = self.windows, self.windows + 1
    self.places.append((window, self._size - free))
    # Keep the window open under its remaining free chunks.
    if free > tail:
      self._open[free - tail].append(window)

  def windows_for_one(self) -> np.ndarray:
    """Returns int [size]: new windows (0 or 1) for one more tail of each length, 0 to size - 1."""
    return _windows_for_more(self._two_of_each(), self._size)[0]

  def windows_for_two(self) -> np.ndarray:
    """Returns int [size, size]: new windows (0 to 2) for two more tails, the longer added first."""
    return _windows_for_more(self._two_of_each(), self._size)[1]

  def _two_of_each(self) -> tuple[int, ...]:
    """Returns the open windows' free chunks, ascending; at most two of each, as two tails use."""
    return tuple(free for free, windows in enumerate(self._open) for _ in windows[:2])


@functools.lru_cache(maxsize=4096)
def _windows_for_more(opened: tuple[int, ...], size: int) -> tuple[np.ndarray, np.ndarray]:
  """Computes `windows_for_one` and `windows_for_two` from the free chunks of open windows."""
  # One tail opens a window if it is longer than the largest gap.
  one = (np.arange(size) > max(opened, default=0)).astype(np.int32)
  # Two tails: place the longer by best fit, then see whether the shorter fits into what is left.
  two = np.zeros((size, size), np.int32)
  for longer in range(1, size):
    free = next((free for free in opened if free >= longer), size)
    others = list(opened)
    if free in others:
      others.remove(free)
    largest = max([free - longer, *others])
    for shorter in range(longer + 1):
      two[longer, shorter] = (free == size) + (shorter > largest)
  # The loop filled one triangle; the order of the two does not matter.
  two = np.maximum(two, two.T)
  one.flags.writeable = two.flags.writeable = False
  return one, two
