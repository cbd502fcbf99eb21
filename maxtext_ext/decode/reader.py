"""Reading ahead of the clips that are decoded: by size, and of each size the longest first."""

import itertools
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from maxtext_ext.decode.request import Request

SIZES = 8  # classes of clips by the row that their prompt needs: of 1, 2, 4, ... times the tokens


def longest_prompt(row_tokens: int) -> int:
  """Returns the tokens of the longest prompt, by those of a row of the smallest size."""
  return row_tokens << (SIZES - 1)


def size_of(prompt: int, row_tokens: int) -> int:
  """Returns the class of a clip whose prompt has so many tokens."""
  return (max(0, prompt - 1) // row_tokens).bit_length()


class Reader:
  """Clips read ahead.

  Attributes:
    ended: all clips were read.

  Args:
    clips: in any order.
    row_tokens: prompt tokens that a row of the smallest size holds.
    ahead: clips that are read together, and sorted.
  """

  def __init__(self, clips: Iterable[Request], row_tokens: int, ahead: int) -> None:
    self._clips, self._row_tokens, self._ahead = iter(clips), row_tokens, ahead
    self._read: dict[int, list[Request]] = defaultdict(list)
    self.ended = False

  def fill(self) -> None:
    """Reads ahead, unless many clips wait already."""
    if self.ended or sum(map(len, self._read.values())) >= self._ahead:
      return
    clips = list(itertools.islice(self._clips, self._ahead))
    self.ended = len(clips) < self._ahead
    clips.sort(key=lambda clip: len(clip.utterance.prompt))
    for size in range(SIZES):
      new = [clip for clip in clips if self._size(clip) == size]
      self._read[size] = new + self._read[size]

  def _size(self, clip: Request) -> int:
    tokens = len(clip.utterance.prompt)
    size = size_of(tokens, self._row_tokens)
    if size >= SIZES:
      raise ValueError(
        f"{clip.utterance.sample_id}: a prompt of {tokens} tokens, at most"
        f" {longest_prompt(self._row_tokens)} can be decoded; cut the clip"
      )
    return size

  def counts(self) -> np.ndarray:
    """Clips that wait, of each size."""
    return np.array([len(self._read[size]) for size in range(SIZES)])

  def take(self, size: int) -> Request | None:
    """Takes the longest clip of a size; None: there is none now."""
    if not self._read[size]:
      self.fill()
    return self._read[size].pop() if self._read[size] else None
