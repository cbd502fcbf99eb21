"""Rows from utterances under two budgets: text slots, and windows of chunks. Pure numpy.

A row takes the oldest utterances of a look-ahead buffer until little room is left, then fills that
room with pairs of buffered utterances, one after another: those that leave least of both budgets,
or, where that falls short, those that leave least of the windows they open. Every row begins with
the oldest utterance: one that has n older ones before it is in one of the next n + 1 rows, so none
waits for more rows than the buffer has places.
"""

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from maxtext_ext.audio.geometry import Geometry
from maxtext_ext.input.bin_packing import TailPacker
from maxtext_ext.input.packing_config import Packing
from maxtext_ext.input.windows import Placement, alone_and_tail

LOOKAHEAD = Packing().packing_lookahead  # utterances
_PAIR_CANDIDATES = 96  # the oldest that fit; the cost of the search grows with the square
_WELL_FILLED = 0.985  # of the better filled budget; below, a row is tried again in the second way


@dataclass(frozen=True, slots=True)
class _Way:
  """How a row is filled.

  Attributes:
    room: in mean utterances; with less than this the search over pairs begins.
    window_price: what an opened window costs, as a share of what it holds when it is full. 0 takes
      what is longest, close to 1 what leaves least of its windows empty.
  """

  room: float
  window_price: float


_WAYS = (_Way(2.5, 0.0), _Way(4.0, 0.9))
_SAMPLED_ROWS = 64  # rows that tell how well a number of windows suits the data
_WINDOWS_TRIED = 16  # numbers of windows, at most, among those that may suit the data


@dataclass(frozen=True, slots=True)
class Row:
  """The utterances of one row: their keys, and where the chunks of each stand."""

  keys: tuple[int, ...]
  places: tuple[Placement, ...]

  def only(self, keys: Container[int]) -> "Row":
    """The row without the utterances of other keys; the others stay where they are."""
    kept = [pair for pair in zip(self.keys, self.places, strict=True) if pair[0] in keys]
    return Row(tuple(key for key, _ in kept), tuple(place for _, place in kept))


class RowPacker:
  """Packs utterances, known by key, text tokens and chunks, into rows of two budgets.

  A clip's full windows stand alone, tails share windows (where the geometry lets them), nothing is
  split. Rows depend on the order of adding only.

  Example:
    packer = RowPacker(geometry=GEOMETRY, max_tokens=100, windows=2)  # 8 chunks a window
    for key, (tokens, chunks) in enumerate([(60, 3), (60, 3), (40, 5)]):
      packer.add(key, tokens=tokens, chunks=chunks)
    packer.pop()  # keys 0 and 2, both in window 0: key 0 from chunk 0, key 2 from chunk 3
  """

  def __init__(
    self, *, geometry: Geometry, max_tokens: int, windows: int, lookahead: int = LOOKAHEAD
  ) -> None:
    if min(max_tokens, windows, lookahead) < 1:
      raise ValueError(
        f"max_tokens={max_tokens}, windows={windows} and lookahead={lookahead} must be at least 1"
      )
    self.geometry = geometry
    self.max_tokens = max_tokens
    self.windows = windows
    self.lookahead = lookahead
    self._waiting = np.zeros((3, lookahead), np.int64)  # key, tokens, chunks: the oldest first
    self._size = 0

  def __len__(self) -> int:
    return self._size

  @property
  def full(self) -> bool:
    """Whether the look-ahead buffer has no place left."""
    return self._size == self.lookahead

  @property
  def keys(self) -> list[int]:
    """Keys of the utterances that wait, the oldest first."""
    return self._waiting[0, : self._size].tolist()

  def add(self, key: int, *, tokens: int, chunks: int) -> None:
    """Adds an utterance to the buffer.

    Raises:
      ValueError: no row is large enough for it.
    """
    assert not self.full, "pop a row first"
    reason = unfit_reason(
      tokens, chunks, geometry=self.geometry, max_tokens=self.max_tokens, windows=self.windows
    )
    if reason:
      raise ValueError(f"utterance {key}: {reason}")
    self._waiting[:, self._size] = key, tokens, chunks
    self._size += 1

  def pop(self) -> Row:
    """The next row; the buffer should be full, unless the data is at its end."""
    assert self._size, "the buffer is empty"
    keys, tokens, chunks = self._waiting[:, : self._size]
    picked, bins = _pick(tokens, chunks, self.geometry, self.max_tokens, self.windows)
    row = Row(tuple(keys[picked].tolist()), _places(chunks[picked].tolist(), bins, self.geometry))
    left = np.ones(self._size, bool)
    left[picked] = False
    kept = self._waiting[:, : self._size][:, left]
    self._size = kept.shape[1]
    self._waiting[:, : self._size] = kept
    return row


def _pick(
  tokens: np.ndarray, chunks: np.ndarray, geometry: Geometry, max_tokens: int, windows: int
) -> tuple[list[int], TailPacker]:
  """Positions of the utterances of a row, and the bins of their tails in the same order."""
  best = -1.0
  for way in _WAYS:
    tried, tried_bins = _fill_up(tokens, chunks, geometry, max_tokens, windows, way)
    fills = (
      int(tokens[tried].sum()) / max_tokens,
      int(chunks[tried].sum()) / (windows * geometry.chunks_per_window),
    )
    if sum(fills) > best:
      best, picked, bins = sum(fills), tried, tried_bins
    if max(fills) >= _WELL_FILLED or len(picked) == len(tokens):
      break
  return picked, bins


def _fill_up(
  tokens: np.ndarray,
  chunks: np.ndarray,
  geometry: Geometry,
  max_tokens: int,
  windows: int,
  way: _Way,
) -> tuple[list[int], TailPacker]:
  """A row of the oldest utterances and of the pairs that suit it best, one after another."""
  full, tail = alone_and_tail(chunks, geometry)
  count = _oldest(tokens, chunks, geometry, max_tokens, windows, way.room)
  picked = list(range(count))
  bins = TailPacker.of(tail[:count].tolist(), geometry.chunks_per_window)
  tokens_left = max_tokens - int(tokens[:count].sum())
  windows_left = windows - int(full[:count].sum())  # the windows of `bins` are among them
  waiting = np.ones(len(tokens), bool)
  waiting[:count] = False
  # Each budget counts by the share of a row that it fills; a full window is 1 / windows of both.
  slots = windows * geometry.chunks_per_window
  gain = (tokens / max_tokens + chunks / slots).astype(np.float32)
  price = np.float32(way.window_price * 2 / windows)
  while True:
    room = windows_left - bins.windows
    needed = full + bins.windows_for_one()[tail]
    fits = waiting & (tokens <= tokens_left) & (needed <= room)
    candidates = np.flatnonzero(fits)[:_PAIR_CANDIDATES]
    if not len(candidates):
      return picked, bins
    worth = gain[candidates] - price * needed[candidates]
    pair, pair_worth = _best_pair(
      tokens[candidates],
      full[candidates],
      tail[candidates],
      gain[candidates],
      tokens_left,
      room,
      bins.windows_for_two(),
      price,
    )
    best = pair if pair_worth > worth.max() else [int(worth.argmax())]
    for i in sorted(candidates[best].tolist(), key=lambda i: -tail[i]):
      bins.add(int(tail[i]))
      picked.append(i)
      waiting[i] = False
      tokens_left -= int(tokens[i])
      windows_left -= int(full[i])


def _oldest(
  tokens: np.ndarray,
  chunks: np.ndarray,
  geometry: Geometry,
  max_tokens: int,
  windows: int,
  room: float,
) -> int:
  """How many of the oldest utterances leave room for so many mean ones; at least one."""
  tokens_before = np.cumsum(tokens)
  chunks_before = np.cumsum(chunks)
  token_limit = max_tokens - room * tokens.mean()
  size = geometry.chunks_per_window
  chunk_limit = windows * size - room * chunks.mean()
  within = (tokens_before <= token_limit) & (chunks_before <= chunk_limit)
  count = max(1, int(within.sum()))
  full, tail = alone_and_tail(chunks, geometry)

  def windows_of(count: int) -> int:
    return int(full[:count].sum()) + TailPacker.of(tail[:count].tolist(), size).windows

  while count > 1 and windows_of(count) > windows:
    count -= 1
  return count


def _best_pair(
  tokens: np.ndarray,
  full: np.ndarray,
  tail: np.ndarray,
  gain: np.ndarray,
  tokens_left: int,
  windows_left: int,
  windows_for_two: np.ndarray,
  price: np.float32,
) -> tuple[list[int], float]:
  """The two candidates that fit and are worth most, the oldest among equals; -inf if none fit."""
  needed = full[:, None] + full + windows_for_two[tail[:, None], tail]
  fits = (tokens[:, None] + tokens <= tokens_left) & (needed <= windows_left)
  np.fill_diagonal(fits, False)
  worth = np.where(fits, gain[:, None] + gain - price * needed, -np.inf)
  first, second = divmod(int(worth.argmax()), len(tokens))
  return [first, second], float(worth[first, second])


def _places(chunks: list[int], bins: TailPacker, geometry: Geometry) -> tuple[Placement, ...]:
  """Full windows first, in order; the shared windows of the tails behind them."""
  alone = [alone_and_tail(n, geometry)[0] for n in chunks]
  shared = sum(alone)
  places, window = [], 0
  for windows, (tail_window, tail_chunk) in zip(alone, bins.places, strict=True):
    places.append(Placement(window, shared + tail_window if tail_window >= 0 else -1, tail_chunk))
    window += windows
  return tuple(places)


def unfit_reason(
  tokens: int, chunks: int, *, geometry: Geometry, max_tokens: int, windows: int
) -> str:
  """Why an utterance fits no row, and which key to raise; empty if it fits one."""
  if tokens > max_tokens:
    return (
      f"{tokens} text tokens exceed a row's max_target_length={max_tokens}; "
      "raise max_target_length or lower max_seconds"
    )
  needed = -(-chunks // geometry.chunks_per_window)
  if needed > windows:
    return (
      f"{chunks * geometry.chunk_seconds:g} s of audio need {needed} windows, a row has "
      f"windows_per_row={windows}; "
      "raise windows_per_row or lower max_seconds"
    )
  return ""


def pack(
  lengths: Iterable[Sequence[int]],
  *,
  geometry: Geometry,
  max_tokens: int,
  windows: int,
  lookahead: int = LOOKAHEAD,
) -> Iterator[Row]:
  """Rows of all utterances, given as (text tokens, chunks); their keys are 0, 1, 2, ..."""
  packer = RowPacker(geometry=geometry, max_tokens=max_tokens, windows=windows, lookahead=lookahead)
  for key, (tokens, chunks) in enumerate(lengths):
    packer.add(key, tokens=tokens, chunks=chunks)
    if packer.full:
      yield packer.pop()
  while len(packer):
    yield packer.pop()


def choose_windows(
  tokens: np.ndarray, chunks: np.ndarray, max_tokens: int, geometry: Geometry
) -> int:
  """The number of windows a row should have, for utterances with these text tokens and chunks.

  Of the numbers around the data's own ratio of chunks to tokens, the one that leaves least of both
  budgets empty when the utterances are packed; never less than the longest clip needs. The ratio
  alone would not do: clips of 5 s leave 3 chunks of every window empty, clips of 30 s may fit a row
  three times and hardly a fourth.

  Raises:
    ValueError: there are no utterances, or one has more than `max_tokens` tokens.
  """
  if not len(tokens):
    raise ValueError(
      "no utterances to choose windows_per_row from; give it, or data that passes the filters"
    )
  if tokens.max() > max_tokens:
    reason = unfit_reason(int(tokens.max()), 0, geometry=geometry, max_tokens=max_tokens, windows=1)
    raise ValueError(reason)
  size = geometry.chunks_per_window
  alone, tail = alone_and_tail(chunks, geometry)
  taken = (alone * size + tail).sum()  # with the chunks that nothing else can take
  matching = max_tokens * taken / tokens.sum() / size
  least = -(-int(chunks.max()) // size)
  fewest, most = max(least, int(0.5 * matching)), max(least, int(1.4 * matching) + 1)
  options = np.unique(np.linspace(fewest, most, _WINDOWS_TRIED).round().astype(int)).tolist()

  # Short samples are repeated: the last, half empty rows would blur the comparison.
  wanted = LOOKAHEAD + int(_SAMPLED_ROWS * max_tokens / tokens.mean())
  lengths = np.stack([np.resize(tokens, wanted), np.resize(chunks, wanted)], axis=1)

  def empty(windows: int) -> float:
    rows = list(pack(lengths.tolist(), geometry=geometry, max_tokens=max_tokens, windows=windows))
    rows = rows[: max(1, len(rows) * 3 // 4)]
    used = sum(lengths[list(row.keys)].sum(axis=0) for row in rows) / len(rows)
    return 2 - used[0] / max_tokens - used[1] / (windows * size)

  return min(options, key=empty)
