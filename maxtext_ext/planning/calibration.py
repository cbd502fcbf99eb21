"""How near to its published peak a chip comes: runs that others measured.

The step time is calibrated on one run whose step was compiled the way of `cost`; the model FLOP
utilisations that MaxText's README lists (github.com/google/maxtext, April 2024, commit cc7478e; one
slice, rows of 2048 tokens) carry it over to other generations, and tell how far runs of one
generation lie apart: no roofline is better than that.
"""

from dataclasses import dataclass
from statistics import median

from maxtext_ext.planning.topology import V4, Chip

# MaxText 22B (48 layers of 6144/24576, 24 heads, fsdp 64, 13 rows of 2048 a chip, remat full) on a
# v4-128: 156 TFLOP/s of the model's a chip.
CALIBRATED_FLOPS = 5.05e15  # of a chip and step, recomputation included
MEASURED_SECONDS = 22.6

# Model FLOP utilisation by generation: v4 22B; v5p 32B to 512B; v5e 16B, 32B, 64B and 128B.
PUBLISHED = {
  "TPU v4": (0.567,),
  "TPU v5p": (0.7147, 0.7031, 0.6868, 0.6853, 0.6882, 0.6399),
  "TPU v5e": (0.6110, 0.6686, 0.5990, 0.5606),
}


@dataclass(frozen=True, kw_only=True)
class Efficiency:
  """What a chip reaches of its peak, recomputation counted as work.

  Attributes:
    share: of the published peak.
    error: largest deviation of a published run from it, as a share of the time.
    basis: where both come from.
  """

  share: float
  error: float
  basis: str


def efficiency(chip: Chip) -> Efficiency:
  """That of a generation; of v4 where there is no run of it."""
  reached = CALIBRATED_FLOPS / V4.flops / MEASURED_SECONDS
  (reference,) = PUBLISHED[V4.name]
  spreads = {name: _spread(runs) for name, runs in PUBLISHED.items()}
  runs = PUBLISHED.get(chip.name)
  if runs is None:
    lowest, highest = min(map(min, PUBLISHED.values())), max(map(max, PUBLISHED.values()))
    error = max(reference / lowest - 1, 1 - reference / highest)
    return Efficiency(
      share=reached, error=error, basis="a TPU v4's efficiency; no published run of this chip"
    )
  return Efficiency(
    share=reached * median(runs) / reference,
    error=spreads[chip.name] or max(spreads.values()),
    basis=f"{len(runs)} published MaxText run{'s' * (len(runs) > 1)} on {chip.name}",
  )


def _spread(runs: tuple[float, ...]) -> float:
  middle = median(runs)
  return max(abs(middle / run - 1) for run in runs)
