"""The endless order of training: datasets mixed in proportion, each reshuffled in every epoch.

Everything about an element follows from its number and the seed, so any host can find any element.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple, SupportsIndex

import numpy as np
from grain.experimental import index_shuffle

_BLOCK = 1024  # elements among which the datasets have their shares to within one
_ROUNDS = 4  # of the cipher that shuffles; what grain takes
_SMALL = 2**14  # records; the cipher takes 2 ** 16 / records steps to shuffle one of so few


class Element(NamedTuple):
  """One reading of a record: which dataset, for the how-manyeth time, and which of its records."""

  dataset: int
  epoch: int
  record: int


class MixtureOrder:
  """Element 0, 1, 2, ... without end.

  Each dataset is read from beginning to end, and again and again, each time in another order. The
  datasets take turns at random, so that a host that reads every other element meets all of them;
  in every block of elements they have their shares.

  Args:
    lengths: records of each dataset, at least 1.
    proportions: of each dataset, whole and above 0.
    seed: of the shuffling.
  """

  def __init__(self, lengths: Sequence[int], proportions: Sequence[int], seed: int) -> None:
    assert len(lengths) == len(proportions) and min(*lengths, *proportions) > 0
    divisor = math.gcd(*proportions)
    self.lengths = tuple(lengths)
    self.proportions = tuple(proportion // divisor for proportion in proportions)
    state = np.random.SeedSequence(seed).generate_state(len(lengths) + 1)
    self._block_seed, *self._seeds = state.tolist()

  def __getitem__(self, place: int) -> Element:
    block, inside = divmod(place, _BLOCK)
    datasets, turns = _deal(self.proportions, block, self._block_seed)
    dataset = datasets[inside]
    epoch, inside = divmod(turns[inside], self.lengths[dataset])
    record = _shuffled(inside, self.lengths[dataset], self._seeds[dataset] + epoch)
    return Element(dataset, epoch, record)

  def epochs(self, place: int) -> tuple[float, ...]:
    """How often each dataset has been read before a place, to within a block."""
    counts = _counts(self.proportions, place)
    return tuple(count / length for count, length in zip(counts, self.lengths, strict=True))


class SequentialOrder:
  """The order of evaluation: every record of one dataset once, as they are stored."""

  def __init__(self, length: int) -> None:
    self.lengths = (length,)

  def __len__(self) -> int:
    return self.lengths[0]

  def __getitem__(self, place: SupportsIndex) -> Element:
    return Element(0, 0, place.__index__())

  def epochs(self, place: int) -> tuple[float, ...]:
    """How much of the dataset has been read before a place."""
    return (place / self.lengths[0],)


def _counts(proportions: tuple[int, ...], places: int) -> list[int]:
  """How many of so many places each dataset takes; for more places, none takes fewer."""
  counts, remaining = [], sum(proportions)
  for proportion in proportions:
    counts.append(places * proportion // remaining)
    places -= counts[-1]
    remaining -= proportion
  return counts


@functools.lru_cache(maxsize=32)
def _deal(proportions: tuple[int, ...], block: int, seed: int) -> tuple[list[int], list[int]]:
  """For each element of a block its dataset, and how many of that dataset come before it."""
  before = _counts(proportions, block * _BLOCK)
  after = _counts(proportions, (block + 1) * _BLOCK)
  in_turn = np.repeat(np.arange(len(before)), np.subtract(after, before))
  datasets = in_turn[_permutation(_BLOCK, (seed, block))]
  turns = np.empty(_BLOCK, np.int64)
  for dataset, (start, end) in enumerate(zip(before, after, strict=True)):
    turns[datasets == dataset] = np.arange(start, end)
  return datasets.tolist(), turns.tolist()


def _shuffled(index: int, length: int, seed: int) -> int:
  if length <= _SMALL:
    return int(_epoch(length, seed)[index])
  return index_shuffle(index, max_index=length - 1, seed=seed % 2**32, rounds=_ROUNDS)


@functools.lru_cache(maxsize=64)
def _epoch(length: int, seed: int) -> np.ndarray:
  return _permutation(length, (seed,))


def _permutation(length: int, seed: tuple[int, ...]) -> np.ndarray:
  # Of numpy's randomness, only SeedSequence promises the same figures in every release.
  keys = np.random.SeedSequence(seed).generate_state(length, np.uint64)
  return np.argsort(keys, kind="stable")
