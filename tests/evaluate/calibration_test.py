"""Figures of calibration, held against their definitions."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.evaluate.calibration import Calibration, calibrate
from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.evaluate.wer import Texts
from maxtext_ext.text.normalize import get_normalizer


def calibrated(
  *clips: tuple[str, list[tuple[str, float]]], normalizer: str = "none"
) -> Calibration | None:
  normalize = get_normalizer(normalizer)
  hypotheses = [
    Hypothesis(
      id=str(i),
      reference=said,
      hypothesis=" ".join(word for word, _ in words),
      extra={"words": [{"word": word, "confidence": c} for word, c in words]},
    )
    for i, (said, words) in enumerate(clips)
  ]
  texts = [Texts(normalize(item.reference), normalize(item.hypothesis)) for item in hypotheses]
  return calibrate(hypotheses, texts, [normalize] * len(texts))


def test_right_words_are_those_that_align_with_themselves():
  result = calibrated(("a b d", [("a", 0.9), ("x", 0.2), ("d", 0.8), ("e", 0.1)]))
  assert result is not None
  assert (result.words, result.accuracy, result.auroc) == (4, 0.5, 1.0)
  assert [(item.words, item.accuracy) for item in result.bins] == [(1, 0), (1, 0), (1, 1), (1, 1)]
  assert result.ece == pytest.approx((0.1 + 0.2 + 0.2 + 0.1) / 4)
  assert result.risk == ((0.25, 0.0), (0.5, 0.0), (0.75, 1 / 3), (1.0, 0.5))


WORDS = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.35, 0.6, 1.0])), min_size=1)


@given(words=WORDS)
def test_figures_equal_their_definitions(words):
  said = " ".join(str(i) for i in range(len(words)))
  heard = [(str(i) if right else "x", c) for i, (right, c) in enumerate(words)]
  result = calibrated((said, heard))
  assert result is not None
  right = [c for ok, c in words if ok]
  wrong = [c for ok, c in words if not ok]
  if right and wrong:
    pairs = [(a > b) + (a == b) / 2 for a, b in itertools.product(right, wrong)]
    assert result.auroc == pytest.approx(np.mean(pairs))
  else:
    assert result.auroc is None
  gap = 0.0
  for low in range(10):
    inside = [(ok, c) for ok, c in words if min(int(c * 10), 9) == low]
    gap += abs(sum(ok for ok, _ in inside) - sum(c for _, c in inside))
  assert result.ece == pytest.approx(gap / len(words))
  for coverage, risk in result.risk:
    count = round(coverage * len(words))
    threshold = sorted((c for _, c in words), reverse=True)[count - 1]
    kept = [ok for ok, c in words if c >= threshold]
    assert len(kept) == count
    assert risk == pytest.approx(1 - np.mean(kept))


def test_words_are_normalised_one_by_one():
  result = calibrated(("It's here", [("It's", 0.7), ("HERE", 0.9)]), normalizer="english")
  assert result is not None
  assert (result.words, result.accuracy) == (3, 1.0)  # it, is, here
  joined = calibrated(
    ("25 up", [("twenty", 0.7), ("five", 0.9), ("up", 1.0)]), normalizer="english"
  )
  assert joined is None
  both = calibrated(
    ("25", [("twenty", 0.7), ("five", 0.9)]), ("up", [("up", 1.0)]), normalizer="english"
  )
  assert both is not None
  assert (both.words, both.left_out) == (1, 1)


def test_a_curve_of_many_words_has_few_points():
  rng = np.random.default_rng(0)
  words = [("x", float(c)) for c in rng.random(5000)]
  result = calibrated(("y " * 5000, words))
  assert result is not None
  assert len(result.risk) == 100
  assert result.risk[-1] == (1.0, 1.0)


@pytest.mark.parametrize(
  "extra",
  [
    {},
    {"words": 7},
    {"words": []},
    {"words": ["a", "b"]},
    {"words": [{"word": "a"}]},
    {"words": [{"word": "a", "confidence": None}]},
  ],
)
def test_lines_without_confidences_are_passed_over(extra):
  item = Hypothesis(id="a", reference="a", hypothesis="a", extra=extra)
  if extra.get("words") == []:
    item = Hypothesis(id="a", reference="a", hypothesis="", extra=extra)
  texts = [Texts(item.reference, item.hypothesis)]
  assert calibrate([item], texts, [get_normalizer("none")]) is None


def test_a_logarithm_is_no_confidence():
  expected = r"0: the confidence of 'a' is -0\.1, expected 0 to 1; write probabilities"
  with pytest.raises(ValueError, match=expected):
    calibrated(("a", [("a", -0.1)]))
