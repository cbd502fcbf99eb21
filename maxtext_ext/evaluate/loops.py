"""Loops in transcripts: a pattern of words that is repeated over and over."""

from collections.abc import Sequence

REPEATS = 5  # of a pattern in a row make a loop
_LONGEST = 50  # words of a pattern


def has_loop(units: Sequence[str]) -> bool:
  """Returns whether up to 50 words stand five or more times in a row.

  >>> has_loop("thank you thank you thank you thank you thank you".split())
  True
  """
  if len(units) - len(set(units)) < REPEATS - 1:  # as many must be there again: quick for most
    return False
  for period in range(1, min(_LONGEST, len(units) // REPEATS) + 1):
    needed, run = period * (REPEATS - 1), 0  # units in a row that are those of a period before
    for before, unit in zip(units, units[period:], strict=False):
      run = run + 1 if unit == before else 0
      if run == needed:
        return True
  return False
