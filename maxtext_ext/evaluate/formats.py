"""Formats of figures in tables, and the groups that a table shows."""

import math
from collections.abc import Iterator

from maxtext_ext.evaluate.groups import ALWAYS, DURATION
from maxtext_ext.evaluate.rates import Score
from maxtext_ext.evaluate.wer import Scores

MAX_GROUPS = 30  # of a field in a table
_FEW_BLOCKS = 20  # intervals of fewer cover the rate less often than they should


def format_rate(rate: float | None) -> str:
  """Formats a fraction as a percentage: 0.0834 -> "8.34%"; "n/a" for None or no finite number."""
  return "n/a" if rate is None or not math.isfinite(rate) else f"{100 * rate:.2f}%"


def format_interval(interval: tuple[float, float] | None) -> str:
  """Formats an interval: (0.07, 0.09) -> "7.00-9.00"; "n/a" without an interval."""
  return "n/a" if interval is None else f"{100 * interval[0]:.2f}\u2013{100 * interval[1]:.2f}"


def format_difference(interval: tuple[float, float] | None) -> str:
  """Formats an interval of a difference: (-0.02, 0.01) -> "-2.00 to +1.00"."""
  if interval is None:
    return "n/a"
  return f"{100 * interval[0]:+.2f} to {100 * interval[1]:+.2f}"


def counted(count: int, noun: str) -> str:
  """Counts things: (1, "clip") -> "1 clip", (1200, "clip") -> "1,200 clips"."""
  return f"{count:,} {noun}{'' if count == 1 else 's'}"


def format_p(p: float) -> str:
  """Formats a p-value: "0.012", "<0.001"."""
  return "<0.001" if p < 0.001 else f"{p:.3f}"


def format_number(number: float | None) -> str:
  """Formats a number with up to four digits; "n/a" for None."""
  return "n/a" if number is None else f"{number:,.4g}"


def describe_intervals(scores: Scores) -> str:
  """Says how intervals were drawn: "40 blocks by speaker, 1,000 resamples, seed 0"."""
  text = f"{scores.blocks}, {scores.method.replicates:,} resamples, seed {scores.method.seed}"
  return f"{text} (rough: few blocks)" if scores.overall.blocks < _FEW_BLOCKS else text


def shown_groups(scores: Scores) -> Iterator[tuple[str, dict[str, Score], int]]:
  """Yields what a table shows: heading, groups by name, and the number of those left out.

  Languages and datasets always, durations where they differ, and the fields that were asked for;
  of many groups those with the most word errors.
  """
  for field, groups in scores.groups.items():
    if field == DURATION and len(groups) < 2 and DURATION not in scores.method.by:
      continue
    shown = dict(groups)
    if field not in ALWAYS and len(groups) > MAX_GROUPS:
      worst = sorted(groups, key=lambda name: -groups[name].words.edits)[:MAX_GROUPS]
      shown = {name: groups[name] for name in groups if name in set(worst)}
    yield field.capitalize(), shown, len(groups) - len(shown)
