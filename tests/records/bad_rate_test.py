import pickle

import pytest

from maxtext_ext.records.bad_rate import error_of, too_many


@pytest.mark.parametrize(
  ("read", "bad", "fraction", "ended", "expected"),
  [
    (1, 1, 0.01, False, False),  # the first few say little
    (10, 10, 0.01, False, False),
    (11, 11, 0.01, False, True),
    (1_000, 10, 0.01, False, False),
    (5_000, 50, 0.01, False, False),
    (5_000, 51, 0.01, False, True),
    (1, 1, 0.01, True, True),
    (99, 1, 0.01, True, True),
    (100, 1, 0.01, True, False),
    (3, 3, 1.0, True, False),
    (1, 1, 0.0, False, True),
    (0, 0, 0.0, True, False),
  ],
)
def test_too_many(read, bad, fraction, ended, expected):
  assert too_many(read, bad, fraction, ended=ended) == expected


def test_the_error_says_how_many_and_which():
  error = pickle.loads(pickle.dumps(error_of(200, 3, 0.01, ["a:1: x", "b:2: y"])))
  assert "3 of 200 records are bad (1.5%), over max_bad_fraction=0.01" in error.summary
  assert str(error).splitlines() == [error.summary, "a:1: x", "b:2: y"]
