"""Alignment of CTC labels with frames: which frames of a clip say which label.

A path has a label or the blank for every frame, and stands for the labels that are left when equal
neighbours are merged and blanks dropped (Graves et al. 2006).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from maxtext_ext.text.alphabet import BLANK


class Runs(NamedTuple):
  """Labels of a path with their frames; N labels.

  Attributes:
    labels: without blanks.
    first: frame at which each begins.
    end: frame behind its last one; the next label begins there or later.
  """

  labels: Int[np.ndarray, "N"]
  first: Int[np.ndarray, "N"]
  end: Int[np.ndarray, "N"]


def find_runs(path_F: Int[np.ndarray, "F"]) -> Runs:
  """Collapses a path to labels: merges equal neighbours, then drops blanks.

  [1, 1, 0, 1, 2, 2, 0, 0, 3] -> labels [1, 1, 2, 3], first [0, 3, 4, 8], end [2, 4, 6, 9]
  """
  first = np.flatnonzero(np.diff(path_F, prepend=-1))
  end = np.append(first[1:], len(path_F)) if len(first) else first
  labels = path_F[first]
  said = labels != BLANK
  return Runs(labels[said], first[said], end[said])


def align(
  log_probs_FV: Float[np.ndarray, "F V"], labels: Sequence[int] | Int[np.ndarray, "N"]
) -> Int[np.ndarray, "F"]:
  """Finds the likeliest path that collapses to the labels (Viterbi).

  Args:
    log_probs_FV: of every symbol at every frame; those of the labels and the blank are used.
    labels: without blanks.

  Raises:
    ValueError: there are too few frames: one for each label, and one for a blank between equals.
  """
  frames = len(log_probs_FV)
  states = np.full(2 * len(labels) + 1, BLANK)  # a blank, a label, a blank, a label, ..., a blank
  states[1::2] = labels
  repeats = int(np.sum(states[3::2] == states[1:-2:2]))
  if frames < len(labels) + repeats:
    raise ValueError(
      f"{frames} frames for {len(labels)} labels and {repeats} repeats, expected as many or more"
    )
  if not frames:
    return np.zeros(0, np.int64)
  # A label may follow the one before without a blank between them, unless they are equal.
  skips = np.zeros(len(states), bool)
  skips[3::2] = states[3::2] != states[1:-2:2]
  emitted_FS = log_probs_FV[:, states]
  score_S = np.full(len(states), -np.inf)
  score_S[:2] = emitted_FS[0, :2]
  steps_FS = np.zeros((frames, len(states)), np.int8)  # states back to that of the frame before
  candidates = np.full((3, len(states)), -np.inf)
  for frame in range(1, frames):
    candidates[0] = score_S
    candidates[1, 1:] = score_S[:-1]
    candidates[2, 2:] = np.where(skips[2:], score_S[:-2], -np.inf)
    steps_FS[frame] = candidates.argmax(axis=0)
    score_S = candidates.max(axis=0) + emitted_FS[frame]
  state = len(states) - 1
  if len(states) > 1 and score_S[-2] > score_S[-1]:
    state -= 1
  path_F = np.empty(frames, np.int64)
  for frame in range(frames - 1, -1, -1):
    path_F[frame] = states[state]
    state -= int(steps_FS[frame, state])
  return path_F
