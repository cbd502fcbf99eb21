"""Paired comparison of two systems on the same utterances."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from maxtext_ext.evaluate.blocks import find_blocks, sum_by_block
from maxtext_ext.evaluate.bootstrap import percentile_interval, resample
from maxtext_ext.evaluate.formats import counted
from maxtext_ext.evaluate.groups import group
from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.evaluate.mapsswe import MatchedPairs, holm, matched_pairs
from maxtext_ext.evaluate.wer import Method, Scores

LEVEL = 0.05  # of a difference that is called one


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
  """Difference of the word error rates of two systems; all rates are fractions.

  Attributes:
    first, second: their rates on the utterances that both have.
    interval: 95% bootstrap interval of `difference`, of the blocks of the scores; None where the
      rates are of fewer than two blocks or have no reference words.
    improvement: share of replicates in which the first system has the lower rate, half of those
      in which both have the same.
    test: the matched pairs test.
    p: its p-value, corrected for the number of datasets (Holm) where there are several.
  """

  utterances: int
  blocks: int
  first: float
  second: float
  interval: tuple[float, float] | None
  improvement: float | None
  test: MatchedPairs
  p: float

  @property
  def difference(self) -> float:
    """Rate of the first system minus that of the second: negative where the first is better."""
    return self.first - self.second

  @property
  def distinguished(self) -> bool:
    """Returns whether both the test and the interval tell the systems apart."""
    if self.interval is None:
      return False
    return self.p <= LEVEL and (self.interval[0] > 0 or self.interval[1] < 0)

  def __str__(self) -> str:
    """States the result in a sentence."""
    rates = f"{100 * self.first:.2f}% and {100 * self.second:.2f}%"
    if self.interval is None:
      return f"The two systems cannot be compared on {counted(self.utterances, 'clip')} ({rates})."
    if self.interval == (0.0, 0.0):
      return f"The two systems make equally many word errors ({rates})."
    points = [100 * value for value in (self.difference, *self.interval)]
    facts = (
      f"{rates}, difference {points[0]:+.2f} points, 95% interval {points[1]:+.2f} to"
      f" {points[2]:+.2f}, p {'< 0.001' if self.p < 0.001 else f'= {self.p:.3f}'}"
    )
    if self.distinguished:
      better, worse = ("first", "second") if self.difference < 0 else ("second", "first")
      return f"The {better} system has fewer word errors than the {worse}: {facts}."
    least = (points[2] - points[1]) / 2
    return (
      f"The two systems cannot be distinguished: {facts}. Only a difference of about {least:.2f}"
      " points or more would show in this data."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
  """Result of compare().

  Attributes:
    other: path of the second system's hypotheses.
    left_out: utterances that only one of the systems has.
    overall: of all utterances that both have.
    by_dataset: in the order of the names; their p-values are corrected for their number.
  """

  other: str
  left_out: int
  overall: Difference
  by_dataset: dict[str, Difference]

  def figures(self) -> dict[str, Any]:
    """Returns its figures for JSON."""
    return {
      "other": self.other,
      "left_out": self.left_out,
      "all": _figures(self.overall),
      "by_dataset": {name: _figures(item) for name, item in self.by_dataset.items()},
    }


def compare(
  first: tuple[Sequence[Hypothesis], Scores],
  second: tuple[Sequence[Hypothesis], Scores],
  other: str | os.PathLike[str] = "",
) -> Comparison:
  """Compares two systems on the utterances that both transcribed, by their datasets and ids.

  Ids alone are compared where a system names no dataset.

  Args:
    first, second: hypotheses of each system and their scores, by the same normaliser and method.
    other: path of the second system's hypotheses.

  Raises:
    ValueError: they have no utterance in common, or different references for one.
  """
  hypotheses, scores = first
  pairs = _pair(hypotheses, second[0])
  if not pairs:
    raise ValueError(
      f"{os.fspath(other)}: no utterance in common with the first system; datasets and ids differ"
    )
  for ours, theirs in pairs:
    if scores.texts[ours].reference != second[1].texts[theirs].reference:
      raise ValueError(
        f"{os.fspath(other)}: {hypotheses[ours].id!r} has another reference than in the first"
        " system; compare the same split"
      )
  common = [hypotheses[ours] for ours, _ in pairs]
  index_P2 = np.array(pairs)
  blocks = find_blocks(common, scores.method.block)

  def difference(indices: np.ndarray) -> Difference:
    ours, theirs = index_P2[indices].T
    return _difference(
      scores.words_U4[ours],
      second[1].words_U4[theirs],
      blocks.index_U[indices],
      _test(scores, second[1], ours.tolist(), theirs.tolist()),
      scores.method,
    )

  by_dataset = {name: difference(indices) for name, indices in group(common, "dataset").items()}
  corrected = holm([item.test.p for item in by_dataset.values()])
  return Comparison(
    other=os.fspath(other),
    left_out=len(hypotheses) + len(second[0]) - 2 * len(pairs),
    overall=difference(np.arange(len(pairs))),
    by_dataset={
      name: dataclasses.replace(item, p=p)
      for (name, item), p in zip(by_dataset.items(), corrected, strict=True)
    },
  )


def _pair(first: Sequence[Hypothesis], second: Sequence[Hypothesis]) -> list[tuple[int, int]]:
  """Pairs the places of the same utterance; by id alone where a system names no dataset."""
  named = any(item.dataset for item in first) and any(item.dataset for item in second)

  def keys(items: Sequence[Hypothesis]) -> dict[tuple[str, str], int]:
    found = {(item.dataset if named else "", item.id): place for place, item in enumerate(items)}
    # An id of several datasets names no utterance.
    return found if len(found) == len(items) else {}

  places = keys(second)
  return [(place, places[key]) for key, place in keys(first).items() if key in places]


def _test(scores: Scores, others: Scores, ours: list[int], theirs: list[int]) -> MatchedPairs:
  return matched_pairs(
    [scores.texts[place].reference.split() for place in ours],
    [scores.texts[place].hypothesis.split() for place in ours],
    [others.texts[place].hypothesis.split() for place in theirs],
  )


def _difference(
  first_U4: np.ndarray,
  second_U4: np.ndarray,
  block_U: np.ndarray,
  test: MatchedPairs,
  method: Method,
) -> Difference:
  edits_U2 = np.stack([first_U4[:, 1:].sum(axis=1), second_U4[:, 1:].sum(axis=1)], axis=1)
  units_U1 = first_U4[:, :3].sum(axis=1, keepdims=True)
  counts_B3 = sum_by_block(np.concatenate([edits_U2, units_U1], axis=1), block_U)
  first, second, units = counts_B3.sum(axis=0).tolist()
  interval = improvement = None
  if len(counts_B3) > 1 and units:
    totals_R3 = resample(counts_B3, replicates=method.replicates, seed=method.seed)
    totals_R3 = totals_R3[totals_R3[:, 2] > 0]
    difference_R = (totals_R3[:, 0] - totals_R3[:, 1]) / totals_R3[:, 2]
    interval = percentile_interval(difference_R, len(counts_B3))
    improvement = float((difference_R < 0).mean() + (difference_R == 0).mean() / 2)
  return Difference(
    utterances=len(first_U4),
    blocks=len(counts_B3),
    first=first / units if units else float("nan"),
    second=second / units if units else float("nan"),
    interval=interval,
    improvement=improvement,
    test=test,
    p=test.p,
  )


def _figures(difference: Difference) -> dict[str, Any]:
  return {
    "utterances": difference.utterances,
    "blocks": difference.blocks,
    "wer": [_number(difference.first), _number(difference.second)],
    "difference": _number(difference.difference),
    "interval": difference.interval,
    "probability_of_improvement": difference.improvement,
    "mapsswe": dataclasses.asdict(difference.test),
    "p": difference.p,
    "distinguished": difference.distinguished,
    "statement": str(difference),
  }


def _number(rate: float) -> float | None:
  return rate if np.isfinite(rate) else None
