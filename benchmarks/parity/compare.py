"""Differences between two results: relative errors of arrays, counts of unequal tensors."""

import numpy as np

Tensors = dict[str, np.ndarray]


def relative(got: np.ndarray, want: np.ndarray) -> float:
  """Computes the largest difference relative to the largest value."""
  return float(np.abs(got - want).max() / np.abs(want).max())


def differences(got: Tensors, want: Tensors) -> int:
  """Counts tensors that differ in name, type, shape or a byte."""
  return sum(
    name not in got
    or name not in want
    or (got[name].dtype, got[name].shape) != (want[name].dtype, want[name].shape)
    or got[name].tobytes() != want[name].tobytes()
    for name in got.keys() | want.keys()
  )
