"""Counts of edits, held against the tools whose counts they are, on 10,000 pairs."""

import jiwer
import kaldialign
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.evaluate.alignment import Edits
from maxtext_ext.evaluate.counting import ALIGNMENTS, get_alignment
from tests.golden.make_sctk import random_pairs

PAIRS = random_pairs()
WORDS = st.lists(st.sampled_from(["a", "b", "ab", "שלום"]), max_size=8)


def counts(name: str) -> np.ndarray:
  return np.array([ALIGNMENTS[name](*pair) for pair in PAIRS])


def test_levenshtein_counts_as_jiwer():
  references, hypotheses = ([" ".join(text) for text in side] for side in zip(*PAIRS, strict=True))
  theirs = jiwer.process_words(references, hypotheses)
  total = (theirs.hits, theirs.substitutions, theirs.deletions, theirs.insertions)
  assert tuple(counts("levenshtein").sum(axis=0)) == total
  for (reference, hypothesis), ours in zip(PAIRS[:2000], counts("levenshtein"), strict=False):
    one = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    assert tuple(ours) == (one.hits, one.substitutions, one.deletions, one.insertions)


@pytest.mark.parametrize(("name", "merge"), [("kaldi", False), ("compounds", True)])
def test_counts_as_kaldialign(name, merge):
  for (reference, hypothesis), ours in zip(PAIRS, counts(name), strict=True):
    theirs = kaldialign.edit_distance(reference, hypothesis, merge_compounds=merge)
    assert tuple(ours[1:]) == (theirs["sub"], theirs["del"], theirs["ins"])


def test_all_but_compounds_and_sclite_have_the_fewest_edits():
  fewest, kaldi, sclite = (
    counts(name)[:, 1:].sum(axis=1) for name in ("levenshtein", "kaldi", "sclite")
  )
  assert np.array_equal(fewest, kaldi)
  assert (sclite >= fewest).all() and (sclite > fewest).any()


def test_joined_words_are_no_errors_where_compounds_merge():
  assert ALIGNMENTS["compounds"](["white", "paper"], ["whitepaper"]) == Edits(2, 0, 0, 0)
  assert ALIGNMENTS["compounds"](["whitepaper"], ["white", "paper"]) == Edits(1, 0, 0, 0)
  assert ALIGNMENTS["kaldi"](["white", "paper"], ["whitepaper"]) == Edits(0, 1, 1, 0)


@pytest.mark.parametrize("name", ALIGNMENTS)
@given(reference=WORDS, hypothesis=WORDS)
def test_laws(name, reference, hypothesis):
  count = get_alignment(name)
  edits = count(reference, hypothesis)
  assert min(edits) >= 0
  assert edits.hits + edits.substitutions + edits.deletions == len(reference)
  if name != "compounds":
    assert edits.hits + edits.substitutions + edits.insertions == len(hypothesis)
  assert count(reference, list(reference)) == Edits(len(reference), 0, 0, 0)


def test_an_unknown_alignment_is_an_error():
  expected = "unknown alignment 'x'; expected one of levenshtein, kaldi, compounds, sclite"
  with pytest.raises(ValueError, match=expected):
    get_alignment("x")
