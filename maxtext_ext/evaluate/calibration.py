"""Calibration: whether the confidence of a word tells how likely it is right."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from maxtext_ext.evaluate.alignment import align
from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.evaluate.mixed import split_units
from maxtext_ext.evaluate.wer import Texts

_BINS = 10
_POINTS = 100  # of the risk-coverage curve
_FIELD = "words"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bin:
  """Words with a confidence in a tenth of [0, 1].

  Attributes:
    confidence: their mean confidence.
    accuracy: share of them that is right.
  """

  words: int
  confidence: float
  accuracy: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
  """Confidence against correctness of words.

  Attributes:
    words: scored ones.
    left_out: utterances with confidences whose words are not those of the normalised transcript,
      because the normaliser joins them ("twenty five" -> "25").
    accuracy: share of words that is right.
    ece: expected calibration error, the mean gap of confidence and accuracy over ten bins.
    auroc: chance that a right word has more confidence than a wrong one; None where all are alike.
    bins: those that have words, from low to high confidence.
    risk: (coverage, share of wrong words) when the most confident words are kept.
  """

  words: int
  left_out: int
  accuracy: float
  ece: float
  auroc: float | None
  bins: tuple[Bin, ...]
  risk: tuple[tuple[float, float], ...]

  def figures(self) -> dict[str, Any]:
    """Returns its figures for JSON."""
    return dataclasses.asdict(self)


def calibrate(
  hypotheses: Sequence[Hypothesis],
  texts: Sequence[Texts],
  normalizers: Sequence[Callable[[str], str]],
) -> Calibration | None:
  """Compares the confidences of words with their correctness; None where no line has any.

  A line may have `words: [{"word": "two", "confidence": 0.9}, ...]`; `words` of another form are
  not ours and are ignored. A word, or a character of a script without spaces, is right where the
  alignment with the reference pairs it with itself.

  Args:
    texts: normalised texts of each hypothesis.
    normalizers: that made them.

  Raises:
    ValueError: a confidence is not within 0 and 1.
  """
  confidences: list[float] = []
  right: list[bool] = []
  left_out = 0
  for item, pair, normalize in zip(hypotheses, texts, normalizers, strict=True):
    spoken = _words(item)
    if spoken is None:
      continue
    split = [(part, c) for word, c in spoken for part in split_units(normalize(word))]
    heard = split_units(pair.hypothesis)
    if [part for part, _ in split] != heard:
      left_out += 1
      continue
    pairs = align(split_units(pair.reference), heard)
    right += [aligned.kind == "hit" for aligned in pairs if aligned.kind != "deletion"]
    confidences += [confidence for _, confidence in split]
  if not confidences:
    return None
  return _summarise(np.array(confidences), np.array(right), left_out)


def _words(item: Hypothesis) -> list[tuple[str, float]] | None:
  words = item.extra.get(_FIELD)
  if not isinstance(words, list):
    return None
  pairs = []
  for word in words:
    match word:
      case {"word": str(text), "confidence": float() | int() as confidence}:
        if not 0 <= confidence <= 1:
          raise ValueError(
            f"{item.id}: the confidence of {text!r} is {confidence}, expected 0 to 1; write"
            " probabilities, not their logarithms"
          )
        pairs.append((text, float(confidence)))
      case _:
        return None
  return pairs


def _summarise(confidence_W: np.ndarray, right_W: np.ndarray, left_out: int) -> Calibration:
  bin_W = np.minimum((confidence_W * _BINS).astype(int), _BINS - 1)
  bins = tuple(
    Bin(
      words=int(inside_W.sum()),
      confidence=float(confidence_W[inside_W].mean()),
      accuracy=float(right_W[inside_W].mean()),
    )
    for inside_W in (bin_W == number for number in range(_BINS))
    if inside_W.any()
  )
  gaps = (item.words * abs(item.confidence - item.accuracy) for item in bins)
  return Calibration(
    words=len(right_W),
    left_out=left_out,
    accuracy=float(right_W.mean()),
    ece=float(sum(gaps) / len(right_W)),
    auroc=_auroc(confidence_W, right_W),
    bins=bins,
    risk=_risk(confidence_W, right_W),
  )


def _auroc(confidence_W: np.ndarray, right_W: np.ndarray) -> float | None:
  right, wrong = int(right_W.sum()), int((~right_W).sum())
  if not right or not wrong:
    return None
  _, value_W, count_V = np.unique(confidence_W, return_inverse=True, return_counts=True)
  rank_V = np.cumsum(count_V) - (count_V - 1) / 2  # ties share their ranks
  ranks = rank_V[value_W][right_W].sum()
  return float((ranks - right * (right + 1) / 2) / (right * wrong))


def _risk(confidence_W: np.ndarray, right_W: np.ndarray) -> tuple[tuple[float, float], ...]:
  """Computes the curve at the ends of runs of equal confidence, thinned to its points."""
  order = np.argsort(-confidence_W, kind="stable")
  wrong_W = np.cumsum(~right_W[order])
  kept_W = np.arange(1, len(order) + 1)
  ends = np.flatnonzero(np.diff(confidence_W[order], append=-1.0))
  chosen = ends[np.unique(np.linspace(0, len(ends) - 1, _POINTS).astype(int))]
  return tuple(
    (float(kept_W[end] / len(order)), float(wrong_W[end] / kept_W[end])) for end in chosen
  )
