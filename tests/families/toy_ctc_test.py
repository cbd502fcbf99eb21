"""A model of its own is one file, one line in MODELS and one yml; nothing else changes."""

import numpy as np
import pytest

from maxtext_ext.models.encoders import ENCODERS
from maxtext_ext.models.make import MODELS
from maxtext_ext.planning.compile_step import load_for
from maxtext_ext.planning.topology import parse_topology
from tests import tiny
from tests.families.toy_ctc import ToyCTC
from tests.families.toy_encoder import ToyEncoder
from tests.train.steps import Steps

TOY = (
  "speech_model=toy_ctc",
  "speech_encoder=toy",
  "encoder={width: 24, num_mel_bins: 40}",
  "vocab_size=8",
)


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setitem(ENCODERS, "toy", ToyEncoder)
  monkeypatch.setitem(MODELS, "toy_ctc", ToyCTC)


def noise(letters: list[list[int]], frames: list[int]) -> dict[str, np.ndarray]:
  """Rows of one window, in each a clip of so many frames of noise with these letters."""
  rng = np.random.default_rng(0)
  rows, longest = len(letters), max(map(len, letters))
  chunk_frames = np.clip(np.asarray(frames)[:, None] - 50 * np.arange(6), 0, 50)[:, None]
  targets = np.zeros((2, rows, longest), np.int32)
  for row, ids in enumerate(letters):
    targets[:, row, : len(ids)] = ids, np.ones(len(ids))
  return {
    "samples": rng.normal(0, 0.1, (rows, 1, 6, 8_240)).astype(np.float32),
    "chunk_frames": chunk_frames.astype(np.int32),
    "chunk_segment": (chunk_frames > 0).astype(np.int32),
    "targets": targets[0],
    "targets_segmentation": targets[1],
  }


def test_it_learns_and_leaves_out_clips_that_are_too_short_for_their_letters():
  steps = Steps(*TOY, "learning_rate=0.05", "train_parts={encoder: 0.01, head: 0.05}")
  # The last clip gives 2 tokens, and its letters need 3: a blank stands between equal ones.
  batch = noise([[3, 1, 2], [5, 5], [4, 4]], [300, 120, 20])
  first = steps.step(batch)
  assert (first["target_tokens"], first["impossible_clips"]) == (5, 1)
  alone = {key: value[:2] for key, value in batch.items()}
  assert steps.loss(batch) == pytest.approx(steps.loss(alone), rel=1e-6)
  for _ in range(20):
    last = steps.step(batch)
  assert last["updates"] == 21
  assert last["loss"] < 0.7 * first["loss"]


def test_a_plan_refuses_it_in_one_line():
  with pytest.raises(ValueError, match="speech_model=toy_ctc has no decoder of MaxText's"):
    load_for(tiny.DEMO, TOY, parse_topology("gpu:80GB"))
