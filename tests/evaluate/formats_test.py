import math

import pytest

from maxtext_ext.evaluate import formats
from maxtext_ext.evaluate.formats import (
  describe_intervals,
  format_difference,
  format_number,
  format_p,
  format_rate,
  shown_groups,
)
from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.evaluate.wer import Method, Scores, score


def test_figures_are_readable():
  assert [format_rate(rate) for rate in (0.0834, None, math.inf)] == ["8.34%", "n/a", "n/a"]
  assert format_difference((-0.021, 0.003)) == "-2.10 to +0.30"
  assert format_difference(None) == "n/a"
  assert [format_p(p) for p in (0.0009, 0.001, 0.0456)] == ["<0.001", "0.001", "0.046"]
  assert [format_number(n) for n in (None, 1234.5, 0.12345)] == ["n/a", "1,234", "0.1235"]


def scored(**method: object) -> Scores:
  hypotheses = [
    Hypothesis(
      id=str(i),
      duration=float(i),
      reference="a b",
      hypothesis="a" if i == 7 else "a b",
      extra={"speaker": f"s{i % 4}"} if i else {},
    )
    for i in range(9)
  ]
  return score(hypotheses, method=Method(**method))


def test_intervals_say_what_they_were_drawn_from():
  expected = "1 block by clip and 4 by speaker, 500 resamples, seed 3 (rough: few blocks)"
  assert describe_intervals(scored(replicates=500, seed=3)) == expected
  many = [Hypothesis(id=str(i), reference="a", hypothesis="a") for i in range(20)]
  assert describe_intervals(score(many)) == "20 blocks by clip, 1,000 resamples, seed 0"
  assert describe_intervals(score(many[1:])).endswith("seed 0 (rough: few blocks)")


@pytest.mark.parametrize(
  ("by", "headings"),
  [
    ((), ["Language", "Dataset", "Duration"]),
    (("speaker",), ["Language", "Dataset", "Duration", "Speaker"]),
  ],
)
def test_fields_that_were_asked_for_are_shown(by, headings):
  assert [heading for heading, _, _ in shown_groups(scored(by=by))] == headings


def test_of_many_groups_the_worst_are_shown(monkeypatch):
  monkeypatch.setattr(formats, "MAX_GROUPS", 2)
  *_, (heading, groups, left_out) = shown_groups(scored(by=("speaker",)))
  assert (heading, left_out) == ("Speaker", 3)
  assert "s3" in groups and len(groups) == 2
  assert list(groups) == sorted(groups)


def test_one_length_of_clips_is_no_group():
  one = score([Hypothesis(id="a", reference="a", hypothesis="a")])
  assert [heading for heading, _, _ in shown_groups(one)] == ["Language", "Dataset"]
