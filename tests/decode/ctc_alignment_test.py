"""Paths of CTC labels against all paths of small cases, and by their laws."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.decode.ctc_alignment import align, find_runs


@given(path=st.lists(st.integers(0, 3)))
def test_a_path_collapses_as_defined(path: list[int]):
  """Repeats merge first, blanks go afterwards; the frames of a run have its label."""
  runs = find_runs(np.array(path, np.int32))
  merged = [label for label, _ in itertools.groupby(path)]
  assert runs.labels.tolist() == [label for label in merged if label != 0]
  covered = [(frame, label) for frame, label in enumerate(path) if label]
  spans = zip(*runs, strict=True)
  assert [(frame, label) for label, a, b in spans for frame in range(a, b)] == covered


def log_softmax(logits_FV: np.ndarray) -> np.ndarray:
  return logits_FV - np.log(np.exp(logits_FV).sum(axis=1, keepdims=True))


def likeliest_paths(log_probs_FV: np.ndarray) -> dict[tuple[int, ...], float]:
  """Score of the likeliest path of every text, by looking at all paths."""
  frames, symbols = log_probs_FV.shape
  found: dict[tuple[int, ...], float] = {}
  for path in itertools.product(range(symbols), repeat=frames):
    labels = tuple(find_runs(np.array(path, int)).labels.tolist())
    score = float(log_probs_FV[range(frames), path].sum())
    found[labels] = max(score, found.get(labels, -np.inf))
  return found


@given(seed=st.integers(0, 2**32 - 1), frames=st.integers(1, 5))
def test_an_alignment_is_the_likeliest_of_all_paths(seed: int, frames: int):
  log_probs_FV = log_softmax(np.random.default_rng(seed).normal(0, 2, (frames, 3)))
  for labels, score in likeliest_paths(log_probs_FV).items():
    path = align(log_probs_FV, labels)
    assert tuple(find_runs(path).labels.tolist()) == labels
    assert log_probs_FV[range(frames), path].sum() == pytest.approx(score)


@given(
  path=st.lists(st.integers(0, 4), min_size=1, max_size=60),
  confidence=st.floats(2, 20),
)
def test_a_clear_path_is_found_again(path: list[int], confidence: float):
  logits_FV = np.zeros((len(path), 5))
  logits_FV[range(len(path)), path] = confidence
  runs = find_runs(np.array(path))
  assert align(log_softmax(logits_FV), runs.labels).tolist() == path
  assert all(runs.end[:-1] <= runs.first[1:]) and all(runs.first < runs.end)


def test_labels_need_frames():
  align(np.zeros((3, 2)), [1, 1])
  with pytest.raises(ValueError, match="2 frames for 2 labels and 1 repeats, expected as many"):
    align(np.zeros((2, 2)), [1, 1])
  assert align(np.zeros((0, 2)), []).tolist() == []
