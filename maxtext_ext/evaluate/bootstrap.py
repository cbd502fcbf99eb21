"""Bootstrap intervals of corpus error rates."""

import math

import numpy as np
from scipy import special

REPLICATES = 1000
# Draws held at once: bounds memory at 32 MB whatever the corpus.
_BLOCK = 4_000_000


def bootstrap_interval(
  edits_U: np.ndarray, units_U: np.ndarray, *, replicates: int = REPLICATES, seed: int = 0
) -> tuple[float, float] | None:
  """Computes the 95% percentile interval of sum(edits) / sum(units) over resampled utterances.

  Bisani & Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation",
  ICASSP 2004: utterances are drawn with replacement, as many as there are, `replicates` times.
  Utterances with the same two counts are interchangeable, so each replicate is one multinomial draw
  over the distinct pairs of counts: the same distribution, much faster, and independent of
  the order of the utterances. The percentiles are a little further out than 2.5 and 97.5 where
  there are few utterances (`tail`).

  Args:
    edits_U: edits of each utterance, or of each block that is drawn together.
    units_U: reference words or characters of each.

  Returns:
    (lower, upper), or None where resampling says nothing: fewer than two utterances, or no
    reference units at all.
  """
  utterances = len(edits_U)
  if utterances < 2 or not np.any(units_U):
    return None
  totals_R2 = resample(np.stack([edits_U, units_U], axis=1), replicates=replicates, seed=seed)
  # Drop replicates of empty references alone, which have no rate.
  edits_R, units_R = totals_R2[totals_R2[:, 1] > 0].T
  return percentile_interval(edits_R / units_R, utterances)


def resample(counts_UN: np.ndarray, *, replicates: int = REPLICATES, seed: int = 0) -> np.ndarray:
  """Draws utterances with replacement, as many as there are, and sums their counts.

  Args:
    counts_UN: integers of each utterance or block.

  Returns:
    sums of each replicate, [R, N]; they do not depend on the order of the utterances.
  """
  # Count equal utterances: a replicate only needs how often each distinct row is drawn.
  rows_KN, counts_K = np.unique(counts_UN.astype(np.int64), axis=0, return_counts=True)
  # Draw replicates in blocks, and sum up each by one matrix product.
  rng = np.random.default_rng(seed)
  block = max(1, _BLOCK // len(rows_KN))
  shares_K = counts_K / len(counts_UN)
  return np.concatenate(
    [
      rng.multinomial(len(counts_UN), shares_K, size=min(block, replicates - start)) @ rows_KN
      for start in range(0, replicates, block)
    ]
  )


def percentile_interval(values_R: np.ndarray, blocks: int) -> tuple[float, float]:
  """Computes the 95% interval of replicates that were drawn from so many blocks."""
  outside = tail(blocks)
  lower, upper = np.quantile(values_R, [outside, 1 - outside])
  return float(lower), float(upper)


def tail(blocks: int) -> float:
  """Returns the share of replicates that a 95% interval leaves out on either side.

  Replicates of n blocks scatter less than the statistic by sqrt((n - 1) / n), and their normal
  quantile stands for one of Student's t: plain percentiles of 20 blocks cover 92%. Hesterberg,
  "What teachers should know about the bootstrap", The American Statistician 69 (2015).
  """
  spread = math.sqrt(blocks / (blocks - 1)) * special.stdtrit(blocks - 1, 0.975)
  return float(special.ndtr(-spread))
