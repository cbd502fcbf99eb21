import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.audio.geometry import Geometry
from maxtext_ext.input.packing import RowPacker, choose_windows, pack, unfit_reason
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY as QWEN3

MAX_TOKENS, WINDOWS = 200, 4
LENGTHS = st.lists(st.tuples(st.integers(1, MAX_TOKENS), st.integers(1, WINDOWS * 8)), max_size=80)


OWN_WINDOWS = Geometry(
  frames_per_chunk=100, halvings=1, chunks_per_window=8, tails_share_windows=False, min_samples=400
)
BUDGETS = {"max_tokens": MAX_TOKENS, "windows": WINDOWS}


def pack_all(lengths, lookahead=16, geometry=QWEN3):
  return list(pack(lengths, geometry=geometry, lookahead=lookahead, **BUDGETS))


@given(lengths=LENGTHS, lookahead=st.integers(1, 40))
def test_every_utterance_is_in_one_row(lengths, lookahead):
  rows = pack_all(lengths, lookahead)
  assert sorted(itertools.chain(*(row.keys for row in rows))) == list(range(len(lengths)))
  assert all(len(row.keys) == len(row.places) for row in rows)


@given(lengths=LENGTHS)
def test_no_budget_is_exceeded(lengths):
  for row in pack_all(lengths):
    assert sum(lengths[key][0] for key in row.keys) <= MAX_TOKENS
    used = np.zeros((WINDOWS, 8), int)
    for key, place in zip(row.keys, row.places, strict=True):
      full, tail = divmod(lengths[key][1], 8)
      used[place.first_window : place.first_window + full] += 1
      if tail:
        assert place.tail_chunk + tail <= 8  # not split over windows
        used[place.tail_window, place.tail_chunk : place.tail_chunk + tail] += 1
      else:
        assert (place.tail_window, place.tail_chunk) == (-1, -1)
    # At most one clip a chunk: so the full windows, all 8 chunks taken, stand alone.
    assert used.max() <= 1
    assert used.sum() == sum(lengths[key][1] for key in row.keys)


@given(lengths=LENGTHS, lookahead=st.integers(1, 40))
def test_where_tails_share_no_windows_every_clip_has_its_own(lengths, lookahead):
  rows = pack_all(lengths, lookahead, OWN_WINDOWS)
  assert sorted(itertools.chain(*(row.keys for row in rows))) == list(range(len(lengths)))
  for row in rows:
    assert sum(lengths[key][0] for key in row.keys) <= MAX_TOKENS
    taken = []
    for key, place in zip(row.keys, row.places, strict=True):
      taken += range(place.first_window, place.first_window + -(-lengths[key][1] // 8))
      assert (place.tail_window, place.tail_chunk) == (-1, -1)
    assert len(set(taken)) == len(taken) and set(taken) <= set(range(WINDOWS))


@given(lengths=LENGTHS, lookahead=st.integers(1, 40))
def test_every_row_begins_with_the_oldest(lengths, lookahead):
  waiting = set(range(len(lengths)))
  for row in pack_all(lengths, lookahead):
    assert row.keys[0] == min(waiting)
    waiting -= set(row.keys)


@given(lengths=LENGTHS, lookahead=st.integers(1, 40))
def test_none_waits_for_more_rows_than_older_ones_wait_before_it(lengths, lookahead):
  packer = RowPacker(geometry=QWEN3, lookahead=lookahead, **BUDGETS)
  latest = {}  # the number of the row in which each must be
  rows = 0
  queue = list(enumerate(lengths))[::-1]
  while queue or len(packer):
    while queue and not packer.full:
      key, (tokens, chunks) = queue.pop()
      latest[key] = rows + len(packer) + 1
      assert latest[key] <= rows + lookahead
      packer.add(key, tokens=tokens, chunks=chunks)
    rows += 1
    assert all(rows <= latest[key] for key in packer.pop().keys)


@given(lengths=LENGTHS)
def test_rows_follow_from_the_order_alone(lengths):
  assert pack_all(lengths) == pack_all(lengths)


@given(lengths=LENGTHS, extra=LENGTHS)
def test_later_utterances_change_no_earlier_row(lengths, extra):
  """A row is fixed when it is made; only rows made at the end of the data can differ."""
  lookahead = 8
  full_buffer_rows = max(0, len(lengths) - lookahead + 1)
  alone, longer = pack_all(lengths, lookahead), pack_all(lengths + extra, lookahead)
  while full_buffer_rows > 0:
    assert alone[0] == longer[0]
    full_buffer_rows -= len(alone.pop(0).keys)
    longer.pop(0)


@pytest.mark.parametrize(
  ("tokens", "chunks", "key"),
  [(201, 1, "max_target_length"), (1, 33, "windows_per_row"), (200, 32, "")],
)
def test_what_fits_no_row_says_which_key_to_raise(tokens, chunks, key):
  reason = unfit_reason(tokens, chunks, geometry=QWEN3, **BUDGETS)
  assert key in reason and bool(key) == bool(reason)
  packer = RowPacker(geometry=QWEN3, **BUDGETS)
  if key:
    with pytest.raises(ValueError, match=f"raise {key}"):
      packer.add(0, tokens=tokens, chunks=chunks)
  else:
    packer.add(0, tokens=tokens, chunks=chunks)
    assert packer.pop().keys == (0,)


@pytest.mark.parametrize("budgets", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_budgets_are_positive(budgets):
  with pytest.raises(ValueError, match="at least 1"):
    RowPacker(geometry=QWEN3, max_tokens=budgets[0], windows=budgets[1], lookahead=budgets[2])


def speech_lengths(count, seed=0):
  """Log-normal durations, median 6 s, 4 text tokens a second, the template's 18."""
  rng = np.random.default_rng(seed)
  seconds = np.clip(6 * np.exp(0.7 * rng.standard_normal(count)), 0.5, 30)
  frames = (seconds * 100).astype(int)
  tokens = QWEN3.tokens(frames) + np.rint(4 * seconds).astype(int) + 18
  return tokens, -(-frames // 100)


@pytest.fixture(scope="module", params=[0, 1])
def packed_speech(request):
  """Lengths, windows, and the rows that are made while there is more to read."""
  tokens, chunks = speech_lengths(8_000, request.param)
  windows = choose_windows(tokens[:1024], chunks[:1024], 2048, QWEN3)
  packer = RowPacker(geometry=QWEN3, max_tokens=2048, windows=windows)
  rows = []
  for key, (t, c) in enumerate(zip(tokens.tolist(), chunks.tolist(), strict=True)):
    packer.add(key, tokens=t, chunks=c)
    if packer.full:
      rows.append((key, packer.pop()))
  return tokens, chunks, windows, rows


def test_speech_fills_both_budgets(packed_speech):
  tokens, chunks, windows, rows = packed_speech
  keys = [key for _, row in rows for key in row.keys]
  assert tokens[keys].sum() / (len(rows) * 2048) >= 0.98
  assert chunks[keys].sum() / (len(rows) * windows * 8) >= 0.97


def test_long_clips_wait_no_longer_than_others(packed_speech):
  _, chunks, _, rows = packed_speech
  waited = {key: newest - key for newest, row in rows for key in row.keys}
  long, short = (
    np.mean([waited[key] for key in waited if low <= chunks[key] < high])
    for low, high in ((20, 31), (0, 20))
  )
  assert long < 1.1 * short


def test_windows_are_chosen_to_hold_the_longest_clip():
  tokens, chunks = np.array([30] * 20 + [400]), np.array([1] * 20 + [30])
  assert choose_windows(tokens, chunks, 420, QWEN3) == 4


@pytest.mark.parametrize(
  ("seconds", "windows"),
  [
    (5, 9),  # 103 tokens: 9 in a row of 1000, each in a window of its own; by its chunks: 6
    (30, 4),  # 528 tokens: one in a row, in 4 windows; by its chunks: 7
    (8, 6),  # 154 tokens: 6 in a row
  ],
)
def test_windows_are_chosen_for_clips_that_leave_windows_or_rows_partly_empty(seconds, windows):
  tokens = np.full(100, QWEN3.tokens(100 * seconds) + 4 * seconds + 18)
  got = choose_windows(tokens, np.full(100, seconds), 1_000, QWEN3)
  assert got == windows


def test_windows_are_chosen_for_tails_that_share_none():
  """10 clips of 100 tokens and 3 s in 1000 tokens: 10 windows, or 5 where two tails share one."""
  tokens, chunks = np.full(100, 100), np.full(100, 3)
  assert choose_windows(tokens, chunks, 1_000, OWN_WINDOWS) == 10
  assert choose_windows(tokens, chunks, 1_000, QWEN3) == 5


def test_windows_cannot_be_chosen_from_nothing():
  with pytest.raises(ValueError, match="windows_per_row"):
    choose_windows(np.array([], int), np.array([], int), 100, QWEN3)
  with pytest.raises(ValueError, match="max_target_length"):
    choose_windows(np.array([101]), np.array([1]), 100, QWEN3)
