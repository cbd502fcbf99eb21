"""Alignments held against those of sclite itself, where it is installed, else stored ones."""

import itertools
import shutil

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.evaluate.sclite import align_sclite, count_sclite
from tests.golden.make_sctk import FILE, random_pairs, sclite_counts

WORDS = st.lists(st.sampled_from("abc"), max_size=7)
COSTS = {"H": 0, "S": 4, "D": 3, "I": 3}


def test_counts_as_sclite():
  pairs = random_pairs()
  expected = sclite_counts(pairs) if shutil.which("sctk") else np.load(FILE)["counts"]
  np.testing.assert_array_equal([count_sclite(*pair) for pair in pairs], expected)


def table(reference: list[str], hypothesis: list[str]) -> dict[tuple[int, int], tuple[int, str]]:
  """The definition, without a band: least cost and last operation of all beginnings."""
  cells: dict[tuple[int, int], tuple[int, str]] = {(0, 0): (0, "")}
  for r, h in itertools.product(range(len(reference) + 1), range(len(hypothesis) + 1)):
    steps = []  # the first of the cheapest counts
    if r and h:
      kind = "H" if reference[r - 1] == hypothesis[h - 1] else "S"
      steps.append((cells[r - 1, h - 1][0] + COSTS[kind], kind))
    if h:
      steps.append((cells[r, h - 1][0] + COSTS["I"], "I"))
    if r:
      steps.append((cells[r - 1, h][0] + COSTS["D"], "D"))
    if steps:
      cells[r, h] = min(steps, key=lambda step: step[0])
  return cells


@given(reference=WORDS, hypothesis=WORDS)
def test_the_path_is_that_of_the_whole_table(reference, hypothesis):
  cells = table(reference, hypothesis)
  r, h = len(reference), len(hypothesis)
  expected = ""
  while r or h:
    kind = cells[r, h][1]
    expected = kind + expected
    r, h = r - (kind != "I"), h - (kind != "D")
  assert align_sclite(reference, hypothesis) == expected


def test_long_texts_with_few_errors_take_little_time():
  reference = [str(number) for number in range(20_000)]
  hypothesis = [word for word in reference if not word.endswith("77")]
  assert count_sclite(reference, hypothesis) == (len(hypothesis), 0, 200, 0)
