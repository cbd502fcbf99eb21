"""Cuts of long audio: quiet points by their definition, and pauses between stretches of speech."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.audio.cuts import REACH, WINDOW, place_cut, place_cut_in_pause, quietest, spans
from maxtext_ext.audio.limits import SAMPLE_RATE


def noise(count: int, seed: int = 0) -> np.ndarray:
  return np.random.default_rng(seed).uniform(-1, 1, count).astype(np.float32)


@given(
  count=st.integers(WINDOW + 1, 3 * WINDOW),
  first=st.integers(0, WINDOW - 1),
  seed=st.integers(0, 99),
)
def test_the_quietest_window_is_that_of_the_definition(count: int, first: int, seed: int):
  samples = np.round(noise(count, seed) * 64) / 64  # sums are exact
  sums = [
    np.abs(samples[i : i + WINDOW]).sum(dtype=np.float64) for i in range(first, count - WINDOW + 1)
  ]
  begin = first + int(np.argmin(sums)) if sums else first
  expected = begin + int(np.argmin(np.abs(samples[begin : begin + WINDOW])))
  assert quietest(samples, first, count) == expected


def test_the_cut_is_in_a_pause_near_the_boundary():
  samples = noise(70 * SAMPLE_RATE)
  pauses = {
    second: slice(int(second * SAMPLE_RATE), int((second + 0.2) * SAMPLE_RATE))
    for second in (8.0, 27.3)
  }
  for pause in pauses.values():
    samples[pause] *= 0.01
  assert 27.3 <= place_cut(samples, 30 * SAMPLE_RATE) / SAMPLE_RATE <= 27.5
  assert 8.0 <= place_cut(samples, 12 * SAMPLE_RATE) / SAMPLE_RATE <= 8.2


@given(limit=st.integers(4, 400_000), extra=st.integers(1, 900_000))
def test_a_piece_is_neither_too_long_nor_very_short(limit: int, extra: int):
  count = limit + extra
  samples = np.zeros(count, np.float32)
  samples[::2] = 1
  cut = place_cut(samples, limit)
  assert limit // 4 <= cut <= limit
  assert count - cut >= limit // 4, "nor is the rest"
  reach = min(REACH, limit // 4)
  assert cut >= min(limit, count // 2) - 2 * reach


def test_what_is_far_ahead_does_not_move_a_cut():
  samples = noise(20 * SAMPLE_RATE)
  limit = 6 * SAMPLE_RATE
  assert place_cut(samples, limit) == place_cut(samples[: 2 * limit], limit)


@pytest.mark.parametrize(
  ("active", "bridge", "shortest", "expected"),
  [
    ([], 1, 1, []),
    ([0, 0], 1, 1, []),
    ([1, 1, 0, 1, 0, 0, 0, 1], 1, 2, [(0, 4)]),
    ([1, 1, 0, 1, 0, 0, 0, 1], 0, 1, [(0, 2), (3, 4), (7, 8)]),
    ([0, 1, 0, 0, 1], 2, 3, [(1, 5)]),
  ],
)
def test_spans(active, bridge, shortest, expected):
  assert spans(np.array(active, bool), bridge=bridge, shortest=shortest) == expected


PAUSE_CASES = {
  "all fits": ([(2, 30), (35, 60)], 70, 70),
  "silence alone": ([], 70, 70),
  "a long silence": ([], 150, 100),
  "a long pause first": ([(40, 60)], 70, 35),
  "a long pause later": ([(2, 30), (60, 70)], 90, 35),
  "the margin was cut before": ([(20, 60)], 70, 15),
  "a long pause at the end": ([(2, 30)], 60, 35),
  "the longest pause of the second half": ([(0, 55), (65, 80), (84, 140)], 150, 60),
  "the rest is not very short": ([(0, 60), (62, 88), (99, 110)], 112, 61),
  "no pause": ([(0, 150)], 150, None),
  "a long pause behind the limit": ([(0, 99), (130, 150)], 200, None),
}


@pytest.mark.parametrize("case", PAUSE_CASES)
def test_cuts_in_pauses(case):
  speech, length, expected = PAUSE_CASES[case]
  assert place_cut_in_pause(speech, length, limit=100, long_pause=25, margin=5) == expected


@given(active=st.lists(st.booleans(), min_size=1, max_size=400), limit=st.integers(40, 200))
def test_cuts_in_pauses_end_and_keep_words_whole(active: list[bool], limit: int):
  flags = np.repeat(active, 3)
  while len(flags):
    known = flags[: 2 * limit]
    speech = spans(known, bridge=2, shortest=2)
    cut = place_cut_in_pause(speech, len(known), limit=limit, long_pause=25, margin=5)
    if cut is None:
      assert len(known) > limit
      return
    assert 0 < cut <= min(limit, len(known))
    assert not any(first < cut < last for first, last in speech) or cut == limit
    flags = flags[cut:]
