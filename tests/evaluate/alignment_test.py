import functools

import jiwer
import kaldialign
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.evaluate.alignment import Edits, align, count_edits

# Few different words, so that alignments are full of choices; one character or several.
WORDS = st.lists(st.sampled_from(["a", "b", "ab", "שלום"]), max_size=8)


def distance(reference: list[str], hypothesis: list[str]) -> int:
  """The definition: all ways to delete, insert or pass on the first unit, the cheapest of them."""

  @functools.cache
  def at(r: int, h: int) -> int:
    if r == len(reference) or h == len(hypothesis):
      return len(reference) - r + len(hypothesis) - h
    differ = reference[r] != hypothesis[h]
    return min(at(r + 1, h) + 1, at(r, h + 1) + 1, at(r + 1, h + 1) + differ)

  return at(0, 0)


@pytest.mark.parametrize(
  ("reference", "hypothesis", "expected"),
  [
    ("", "", Edits(0, 0, 0, 0)),
    ("a b c", "a b c", Edits(3, 0, 0, 0)),
    ("a b c", "", Edits(0, 0, 3, 0)),
    ("", "a b", Edits(0, 0, 0, 2)),
    ("a b c", "a x c", Edits(2, 1, 0, 0)),
    ("a b c", "a c", Edits(2, 0, 1, 0)),
    ("a b c", "a b x c", Edits(3, 0, 0, 1)),
    ("the cat sat on the mat", "cat sit on the the mat", Edits(4, 1, 1, 1)),
    ("x y", "z", Edits(0, 1, 1, 0)),
  ],
)
def test_counts(reference, hypothesis, expected):
  assert count_edits(reference.split(), hypothesis.split()) == expected


@given(reference=WORDS, hypothesis=WORDS)
def test_counts_are_consistent_and_minimal(reference, hypothesis):
  edits = count_edits(reference, hypothesis)
  assert min(edits) >= 0
  assert edits.hits + edits.substitutions + edits.deletions == len(reference)
  assert edits.hits + edits.substitutions + edits.insertions == len(hypothesis)
  assert sum(edits[1:]) == distance(reference, hypothesis)


@given(reference=WORDS, hypothesis=WORDS)
def test_total_equals_kaldi(reference, hypothesis):
  assert (
    sum(count_edits(reference, hypothesis)[1:])
    == (kaldialign.edit_distance(reference, hypothesis)["total"])
  )


@given(reference=WORDS.filter(bool), hypothesis=WORDS)
def test_equals_jiwer(reference, hypothesis):
  theirs = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
  expected = Edits(theirs.hits, theirs.substitutions, theirs.deletions, theirs.insertions)
  assert count_edits(reference, hypothesis) == expected


@given(words=WORDS)
def test_identical_has_no_edits(words):
  assert count_edits(words, list(words)) == Edits(len(words), 0, 0, 0)


@given(reference=st.text("abc ", max_size=12), hypothesis=st.text("abc ", max_size=12))
def test_characters(reference, hypothesis):
  assert count_edits(reference, hypothesis) == count_edits(list(reference), list(hypothesis))


@given(reference=WORDS, hypothesis=WORDS)
def test_pairs_spell_both_sides_and_agree_with_the_counts(reference, hypothesis):
  pairs = align(reference, hypothesis)
  assert [pair.reference for pair in pairs if pair.reference] == reference
  assert [pair.hypothesis for pair in pairs if pair.hypothesis] == hypothesis
  kinds = [pair.kind for pair in pairs]
  counted = ("hit", "substitution", "deletion", "insertion")
  assert Edits(*(kinds.count(kind) for kind in counted)) == count_edits(reference, hypothesis)
  for pair in pairs:
    assert (pair.kind == "hit") == (pair.reference == pair.hypothesis)
    assert (pair.kind == "deletion") == (not pair.hypothesis)
    assert (pair.kind == "insertion") == (not pair.reference)
