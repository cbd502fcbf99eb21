from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.planning.memory import Memory
from maxtext_ext.planning.search import MOST_ROWS, largest


def chip(base: float, row: float, bump: float):
  """Memory of rows, nearly on a line, and the rows that it was asked for."""
  asked = []

  def measure(rows: int) -> Memory:
    asked.append(rows)
    return Memory(arguments=base, temporaries=row * rows + bump * (rows % 3), available=100.0)

  return measure, asked


@given(st.floats(0, 120), st.floats(0.01, 60), st.floats(0, 0.003), st.integers(1, 64))
def test_one_row_more_would_not_fit(base, row, bump, start):
  measure, asked = chip(base, row, bump)
  found = largest(measure, start)
  assert len(asked) == len(set(asked))
  if found is None:
    assert not measure(1).fits
    return
  rows, memory = found
  assert memory == measure(rows)
  assert memory.fits
  assert rows == MOST_ROWS or not measure(rows + 1).fits


def test_few_compilations_are_needed():
  measure, asked = chip(5.8, 1.4, 0.0)
  assert largest(measure, 16)[0] == 67
  assert len(asked) <= 4
