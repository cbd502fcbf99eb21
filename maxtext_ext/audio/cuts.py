"""Places where long audio is cut: quiet points, or pauses between stretches of speech."""

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from maxtext_ext.audio.limits import SAMPLE_RATE

WINDOW = SAMPLE_RATE // 10  # samples; the quietest stretch of this length is searched for
REACH = 5 * SAMPLE_RATE  # samples on either side of a boundary where a cut is searched for

Span = tuple[int, int]  # first sample, and the one behind the last


def quietest(samples: Float[np.ndarray, "T"], first: int, last: int) -> int:
  """Finds the sample of the least magnitude in the quietest 100 ms between two samples.

  Source: how the published Qwen3-ASR inference cuts long audio.

  Args:
    samples: of full scale 1.
    first, last: bounds; the second is exclusive and greater.

  Returns:
    Its index; the first one of several.
  """
  part = np.abs(samples[first:last])
  if len(part) > WINDOW:
    sums = np.concatenate([[0.0], np.cumsum(part, dtype=np.float64)])
    begin = int(np.argmin(sums[WINDOW:] - sums[:-WINDOW]))
    first += begin
    part = part[begin : begin + WINDOW]
  return first + int(np.argmin(part))


def place_cut(samples: Float[np.ndarray, "T"], limit: int) -> int:
  """Finds where a piece of at most `limit` samples ends.

  The boundary is 5 s before the limit, or in the middle of a rest that makes two pieces, so that
  none is very short. The cut is within 5 s of it; with limits of under 20 s, within a quarter.

  Args:
    samples: more than `limit`, from the start of the piece; what is behind 2 * `limit` counts for
      nothing.
    limit: samples of the longest piece, at least 4.

  Returns:
    Length of the piece, from 1 to `limit`.
  """
  reach = min(REACH, limit // 4)
  boundary = min(limit - reach, len(samples) // 2)
  return quietest(samples, boundary - reach, boundary + reach)


def spans(active: Bool[np.ndarray, "N"], *, bridge: int, shortest: int) -> list[Span]:
  """Groups active frames: gaps of up to `bridge` frames are closed, then short groups dropped.

  [1 1 0 1 0 0 0 1] with bridge 1, shortest 2 -> [(0, 4)]
  """
  edges = np.flatnonzero(np.diff(active.astype(np.int8), prepend=0, append=0))
  groups: list[Span] = []
  for first, last in edges.reshape(-1, 2).tolist():
    if groups and first - groups[-1][1] <= bridge:
      groups[-1] = (groups[-1][0], last)
    else:
      groups.append((first, last))
  return [(first, last) for first, last in groups if last - first >= shortest]


def place_cut_in_pause(
  speech: Sequence[Span], length: int, *, limit: int, long_pause: int, margin: int
) -> int | None:
  """Finds where a piece ends by the stretches of speech behind its start, in any unit of time.

  A long pause becomes a piece of its own, but for a margin beside the speech. Otherwise a piece
  that would be too long ends in the middle of the longest pause of its second half.

  Args:
    speech: in order.
    length: of what is known from the start of the piece on.
    limit: longest piece.
    long_pause: more than twice the margin.
    margin: kept before and behind speech.

  Returns:
    Length of the piece; None where there is no pause to end it in.
  """
  edges = [0, *itertools.chain.from_iterable(speech), length]
  pauses = list(zip(edges[::2], edges[1::2], strict=True))
  first, last = pauses[0]
  if last - first >= long_pause - margin:  # the margin behind the speech before may have been cut
    return min(limit, last - margin if speech else last)
  for first, last in pauses[1:]:
    if last - first >= long_pause and first + margin <= limit:
      return first + margin
  if length <= limit:
    return length
  latest = min(limit, length - limit // 4)  # the rest is no very short piece
  inner = [
    (last - first, (first + last) // 2)
    for first, last in pauses
    if first < last and limit // 2 <= (first + last) // 2 <= latest
  ]
  return max(inner)[1] if inner else None
