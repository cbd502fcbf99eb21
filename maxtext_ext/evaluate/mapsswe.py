"""Matched pairs test of the errors of two systems in segments of sentences (MAPSSWE)."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import special

from maxtext_ext.evaluate.sclite import align_sclite

_BOUNDARY = 2  # words in a row that both systems have right end a segment


@dataclasses.dataclass(frozen=True, kw_only=True)
class MatchedPairs:
  """Result of the test.

  Attributes:
    segments: stretches of text in which at least one system has an error.
    z: mean difference of errors in a segment over its standard error; None where all differences
      are equal.
    p: probability of a |z| this large if both systems erred alike.
  """

  segments: int
  z: float | None
  p: float


def matched_pairs(
  references: Sequence[Sequence[str]],
  first: Sequence[Sequence[str]],
  second: Sequence[Sequence[str]],
) -> MatchedPairs:
  """Tests whether two systems err alike, as SCTK's sc_stats does.

  Gillick & Cox, "Some statistical issues in the comparison of speech recognition algorithms",
  ICASSP 1989. Texts are aligned as sclite aligns them and cut where both systems have two words in
  a row right; the differences of errors in the segments are taken to be independent. As in
  sc_stats, z is cut to two digits for p, which errs to the safe side. Where all differences are
  equal, sc_stats finds nothing; p is then that of the sign test.

  Args:
    references: words of each utterance.
    first, second: words that the systems have for it.
  """
  differences = np.array(
    [
      one - other
      for said, heard, overheard in zip(references, first, second, strict=True)
      if heard != said or overheard != said
      for one, other in find_segments(align_sclite(said, heard), align_sclite(said, overheard))
    ]
  )
  segments = len(differences)
  if segments > 1 and (spread := differences.std(ddof=1)):
    z = float(differences.mean() / (spread / math.sqrt(segments)))
    p = 2 * float(special.ndtr(-math.floor(100 * abs(z)) / 100))
    return MatchedPairs(segments=segments, z=z, p=p)
  all_alike = segments and differences[0]
  return MatchedPairs(segments=segments, z=None, p=2.0 ** (1 - segments) if all_alike else 1.0)


def find_segments(first: str, second: str) -> Iterator[tuple[int, int]]:
  """Yields the errors of both systems in each segment of an utterance.

  Args:
    first, second: operations of their alignments with the same reference (`align_sclite`).
  """
  errors = [0, 0]
  inside, right = False, 0  # inside a segment; words in a row that both have right
  for one, other in zip(_by_word(first), _by_word(second), strict=True):
    if "I" in one + other:
      inside, right = True, 0
    errors[0] += len(one.replace("H", ""))
    errors[1] += len(other.replace("H", ""))
    if one.endswith("H") and other.endswith("H"):
      right += 1
      if inside and right == _BOUNDARY:
        yield errors[0], errors[1]
        errors, inside = [0, 0], False
    else:
      inside, right = True, 0
  if any(errors):
    yield errors[0], errors[1]


def _by_word(operations: str) -> list[str]:
  """Splits operations behind each word of the reference; insertions stand before it."""
  parts, start = [], 0
  for place, operation in enumerate(operations):
    if operation != "I":
      parts.append(operations[start : place + 1])
      start = place + 1
  return [*parts, operations[start:]]


def holm(p_values: Sequence[float]) -> list[float]:
  """Corrects p-values of several tests, so that one false alarm among them stays rare.

  Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6 (1979).

  >>> holm([0.01, 0.04, 0.03])
  [0.03, 0.06, 0.06]
  """
  order = sorted(range(len(p_values)), key=lambda index: p_values[index])
  corrected, least = [0.0] * len(p_values), 0.0
  for rank, index in enumerate(order):
    least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
    corrected[index] = least
  return corrected
