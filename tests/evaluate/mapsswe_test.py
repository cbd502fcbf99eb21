"""The test held against sc_stats, where SCTK is installed, else against stored results."""

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.evaluate.mapsswe import find_segments, holm, matched_pairs
from maxtext_ext.evaluate.sclite import align_sclite
from tests.golden import make_sctk

WORDS = st.lists(st.sampled_from("abc"), max_size=8)


def test_equals_sc_stats():
  cases = make_sctk.random_systems()
  expected = np.load(make_sctk.FILE)["tests"].tolist()
  if shutil.which("sctk"):
    expected = [make_sctk.matched_pairs(*case) for case in cases]
  for case, (segments, z, p) in zip(cases, expected, strict=True):
    found = matched_pairs(*case)
    assert found.segments == segments
    assert found.z == pytest.approx(z, abs=5.1e-4)  # printed with three digits
    assert (0.0 if found.p < 0.001 else round(found.p, 3)) == p


@pytest.mark.parametrize(
  ("first", "second", "segments"),
  [
    ("HHH", "HHH", []),
    ("SHHHS", "HHHHH", [(1, 0), (1, 0)]),
    ("SHS", "HHH", [(2, 0)]),  # one word right ends no segment
    ("SHHS", "HHHS", [(1, 0), (1, 1)]),
    ("HDHIH", "HHHH", [(2, 0)]),  # an insertion interrupts words that are right
    ("HHII", "HH", [(2, 0)]),
    ("IHH", "HH", [(1, 0)]),
    ("", "", []),
    ("II", "I", [(2, 1)]),
  ],
)
def test_segments_end_behind_two_words_that_both_have_right(first, second, segments):
  assert list(find_segments(first, second)) == segments


@given(said=WORDS, first=WORDS, second=WORDS)
def test_every_error_is_in_one_segment(said, first, second):
  paths = align_sclite(said, first), align_sclite(said, second)
  segments = list(find_segments(*paths))
  totals = [sum(errors) for errors in zip(*segments, strict=True)] or [0, 0]
  assert totals == [len(path.replace("H", "")) for path in paths]
  assert all(map(any, segments))
  assert list(find_segments(*reversed(paths))) == [pair[::-1] for pair in segments]


def test_nothing_is_told_by_systems_that_err_alike():
  same = matched_pairs(*[[["a", "b"]] * 3] * 3)
  assert (same.segments, same.z, same.p) == (0, None, 1.0)
  one = matched_pairs([["a"]], [["b"]], [["a"]])
  assert (one.segments, one.z, one.p) == (1, None, 1.0)
  both_wrong = matched_pairs([["a"]] * 9, [["b"]] * 9, [["c"]] * 9)
  assert (both_wrong.segments, both_wrong.p) == (9, 1.0)


def test_equal_differences_are_told_by_their_number():
  result = matched_pairs([["a"]] * 10, [["b"]] * 10, [["a"]] * 10)
  assert (result.segments, result.z) == (10, None)
  assert result.p == 2 * 0.5**10  # of the sign test


def test_swapped_systems_have_the_opposite_z():
  references, first, second = make_sctk.random_systems()[0]
  ours, theirs = matched_pairs(references, first, second), matched_pairs(references, second, first)
  assert (ours.z, ours.p) == (-theirs.z, theirs.p)


@given(p_values=st.lists(st.floats(0, 1), max_size=6))
def test_holm_rejects_as_its_definition(p_values):
  corrected = holm(p_values)
  level = 0.05
  rejected = [False] * len(p_values)
  for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
    if p_values[index] * (len(p_values) - rank) > level:
      break
    rejected[index] = True
  assert [p <= level for p in corrected] == rejected
  assert all(p <= q <= 1 for p, q in zip(p_values, corrected, strict=True))
