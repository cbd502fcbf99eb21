"""Transcripts for people: which, and how a table of them looks."""

import pytest

from maxtext_ext.evaluate.hypotheses import Hypothesis
from maxtext_ext.train.samples import Sample, choose, to_markdown

CLIPS = [
  Hypothesis(id=f"clip{i}", dataset="set", reference="one two", hypothesis=f"one {i}")
  for i in range(10)
]


def test_the_choice_does_not_depend_on_the_order_or_on_what_was_written():
  chosen = choose(CLIPS, 4, "basic")
  assert len(chosen) == 4 and chosen == choose(CLIPS[::-1], 4, "basic")
  others = [Hypothesis(id=c.id, dataset="set", reference="x", hypothesis="") for c in CLIPS]
  assert [s.id for s in choose(others, 4, "basic")] == [s.id for s in chosen]
  assert choose(CLIPS, 7, "basic")[:4] == chosen
  assert choose(CLIPS, 0, "basic") == ()


@pytest.mark.parametrize(
  ("reference", "hypothesis", "normalizer", "wer"),
  [
    ("one two", "One, three", "basic", 0.5),
    ("one two", "One, three", "none", 1.0),
    ("", "", "basic", 0.0),
    ("", "noise", "basic", None),
  ],
)
def test_each_has_its_own_rate_and_its_texts_as_written(reference, hypothesis, normalizer, wer):
  clip = Hypothesis(id="a", reference=reference, hypothesis=hypothesis)
  (sample,) = choose([clip], 1, normalizer)
  assert (sample.reference, sample.hypothesis, sample.wer) == (reference, hypothesis, wer)


def test_a_table_has_a_row_for_each():
  samples = [
    Sample(id="a|b", dataset="", reference="שלום", hypothesis="two\nlines", wer=0.5),
    Sample(id="c", dataset="", reference="", hypothesis="noise", wer=None),
  ]
  assert to_markdown(samples).splitlines() == [
    "| id | reference | hypothesis | WER |",
    "|---|---|---|---:|",
    r"| a\|b | שלום | two lines | 50% |",
    "| c |  | noise |  |",
  ]
