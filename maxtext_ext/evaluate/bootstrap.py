"""Bootstrap intervals of corpus error rates."""

import numpy as np

# Draws held at once: bounds memory at 32 MB whatever the corpus.
_BLOCK = 4_000_000


def bootstrap_interval(
  edits_U: np.ndarray, units_U: np.ndarray, *, replicates: int = 1000, seed: int = 0
) -> tuple[float, float] | None:
  """Computes the 95% percentile interval of sum(edits) / sum(units) over resampled utterances.

  Bisani & Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation",
  ICASSP 2004: utterances are drawn with replacement, as many as there are, `replicates` times.
  Utterances with the same two counts are interchangeable, so each replicate is one multinomial draw
  over the distinct pairs of counts: the same distribution, much faster, and independent of
  the order of the utterances.

  Args:
    edits_U: edits of each utterance.
    units_U: reference words or characters of each utterance.

  Returns:
    (lower, upper), or None where resampling says nothing: fewer than two utterances, or no
    reference units at all.
  """
  utterances = len(edits_U)
  if utterances < 2 or not np.any(units_U):
    return None
  # Count equal utterances: a replicate only needs how often each distinct pair is drawn.
  pairs_K2, counts_K = np.unique(
    np.stack([edits_U, units_U], axis=1).astype(np.int64), axis=0, return_counts=True
  )
  # Draw replicates in blocks, and sum edits and units of each by one matrix product.
  rng = np.random.default_rng(seed)
  block = max(1, _BLOCK // len(pairs_K2))
  totals_R2 = np.concatenate(
    [
      rng.multinomial(utterances, counts_K / utterances, size=min(block, replicates - start))
      @ pairs_K2
      for start in range(0, replicates, block)
    ]
  )
  # Drop replicates of empty references alone, which have no rate.
  edits_R, units_R = totals_R2[totals_R2[:, 1] > 0].T
  lower, upper = np.quantile(edits_R / units_R, [0.025, 0.975])
  return float(lower), float(upper)
