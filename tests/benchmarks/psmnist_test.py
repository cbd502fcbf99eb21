"""An LMU layer learns digits that are read pixel by pixel in a random order."""

import pytest

from benchmarks.psmnist import SMALL, small_digits, train


@pytest.mark.slow
def test_permuted_digits_are_told_apart():
  assert train(small_digits(), SMALL) >= 0.965
