"""Packing of utterances into rows with two budgets, text slots and audio windows. Pure numpy.

A row takes the oldest utterances of a look-ahead buffer until little space is left, then fills that
space with pairs of buffered utterances, one after another: those that use most of both budgets, or,
if the row is then not well filled, those that waste least of the windows they open. Every row
begins with the oldest utterance: one that has n older ones before it is in one of the next n + 1
rows, so none waits for more rows than the buffer has places.
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
  """Strategy of filling a row.

  Attributes:
    room: in mean utterances; with less space than this the search over pairs begins.
    window_price: cost of an opened window, as a share of its full content. 0 prefers the longest
      utterances, close to 1 those that waste least of their windows.
  """

  room: float
  window_price: float


_WAYS = (_Way(2.5, 0.0), _Way(4.0, 0.9))
_SAMPLED_ROWS = 64  # rows that tell how well a number of windows suits the data
_WINDOWS_TRIED = 16  # numbers of windows, at most, among those that may suit the data


@dataclass(frozen=True, slots=True)
class Row:
  """Utterances of one row: their keys, and the places of their chunks."""

  keys: tuple[int, ...]
  places: tuple[Placement, ...]

  def only(self, keys: Container[int]) -> "Row":
    """Returns the row with only the utterances of these keys, at their places."""
    kept = [pair for pair in zip(self.keys, self.places, strict=True) if pair[0] in keys]
    return Row(tuple(key for key, _ in kept), tuple(place for _, place in kept))


class RowPacker:
  """Packer of utterances, given by key, text tokens and chunks, into rows with two budgets.

  Full windows are not shared, tails share windows (where the geometry allows it), nothing is
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
    """Returns whether the look-ahead buffer is full."""
    return self._size == self.lookahead

  @property
  def keys(self) -> list[int]:
    """Keys of the waiting utterances, the oldest first."""
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
    """Returns the next row; the buffer should be full, unless the data has ended."""
    assert self._size, "the buffer is empty"
    keys, tokens, chunks = self._waiting[:, : self._size]
    # Choose the utterances of the row, and give their chunks places in its windows.
    picked, bins = _pick(tokens, chunks, self.geometry, self.max_tokens, self.windows)
    row = Row(tuple(keys[picked].tolist()), _places(chunks[picked].tolist(), bins, self.geometry))
    # Close the gaps in the buffer, which stays sorted by age.
    left = np.ones(self._size, bool)
    left[picked] = False
    kept = self._waiting[:, : self._size][:, left]
    self._size = kept.shape[1]
    self._waiting[:, : self._size] = kept
    return row


def _pick(
  tokens: np.ndarray, chunks: np.ndarray, geometry: Geometry, max_tokens: int, windows: int
) -> tuple[list[int], TailPacker]:
  """Chooses the utterances of a row; returns their indices and the bins of their tails."""
  # Try the strategies in turn, and stop at a well filled row: the search is the costly part.
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
  """Fills a row with the oldest utterances, then with the best pairs, one after another."""
  # Start with the oldest utterances, so that none waits for long.
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
    # Keep the oldest candidates that fit, few enough for a search over all pairs.
    room = windows_left - bins.windows
    needed = full + bins.windows_for_one()[tail]
    fits = waiting & (tokens <= tokens_left) & (needed <= room)
    candidates = np.flatnonzero(fits)[:_PAIR_CANDIDATES]
    if not len(candidates):
      return picked, bins
    # Take the best pair, unless a single utterance is worth more.
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
    # Place the longer tail first, as `windows_for_two` assumes.
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
  """Counts the oldest utterances that leave room for so many mean ones; at least one."""
  # Count by both budgets as if chunks could be split freely over windows.
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

  # They cannot, so drop the newest until the windows suffice.
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
  """Finds the best two candidates that fit, the oldest among equals; -inf if none fit."""
  needed = full[:, None] + full + windows_for_two[tail[:, None], tail]
  fits = (tokens[:, None] + tokens <= tokens_left) & (needed <= windows_left)
  np.fill_diagonal(fits, False)
  worth = np.where(fits, gain[:, None] + gain - price * needed, -np.inf)
  first, second = divmod(int(worth.argmax()), len(tokens))
  return [first, second], float(worth[first, second])


def _places(chunks: list[int], bins: TailPacker, geometry: Geometry) -> tuple[Placement, ...]:
  """Assigns windows: full ones first, in order, then the shared ones of the tails."""
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
  """Explains why an utterance fits no row, and which key to raise; empty if it fits."""
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
  """Packs all utterances, given as (text tokens, chunks); their keys are 0, 1, 2, ..."""
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
  """Chooses the windows per row for utterances with these text tokens and chunks.

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
