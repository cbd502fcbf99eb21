"""Endless order of training: datasets mixed in proportion, each reshuffled in every epoch.

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
  """One reading of a record: number of the dataset, epoch, and record in the dataset."""

  dataset: int
  epoch: int
  record: int


class MixtureOrder:
  """Element 0, 1, 2, ... without end.

  Each dataset is read in full, again and again, each time in another order. The datasets alternate
  at random, so that a host that reads every other element sees all of them; every block of elements
  has the right proportions.

  Args:
    lengths: records of each dataset, at least 1.
    proportions: of each dataset, positive integers.
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
    """Returns how often each dataset was read before a place, to within a block."""
    counts = _counts(self.proportions, place)
    return tuple(count / length for count, length in zip(counts, self.lengths, strict=True))


class SequentialOrder:
  """Order of evaluation: every record of one dataset once, in stored order."""

  def __init__(self, length: int) -> None:
    self.lengths = (length,)

  def __len__(self) -> int:
    return self.lengths[0]

  def __getitem__(self, place: SupportsIndex) -> Element:
    return Element(0, 0, place.__index__())

  def epochs(self, place: int) -> tuple[float, ...]:
    """Returns the share of the dataset that was read before a place."""
    return (place / self.lengths[0],)


def _counts(proportions: tuple[int, ...], places: int) -> list[int]:
  """Divides places among datasets; with more places, none gets fewer."""
  # Divide what the earlier datasets left, so that the counts add up to `places`.
  counts, remaining = [], sum(proportions)
  for proportion in proportions:
    counts.append(places * proportion // remaining)
    places -= counts[-1]
    remaining -= proportion
  return counts


@functools.lru_cache(maxsize=32)
def _deal(proportions: tuple[int, ...], block: int, seed: int) -> tuple[list[int], list[int]]:
  """Returns each element's dataset in a block, and the number of earlier elements of it."""
  # The difference of cumulative counts gives each dataset's share without rounding drift.
  before = _counts(proportions, block * _BLOCK)
  after = _counts(proportions, (block + 1) * _BLOCK)
  # Shuffle the datasets within the block, so that every host sees all of them.
  in_turn = np.repeat(np.arange(len(before)), np.subtract(after, before))
  datasets = in_turn[_permutation(_BLOCK, (seed, block))]
  # Number the elements of each dataset consecutively over all blocks.
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
