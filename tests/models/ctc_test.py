"""The CTC loss against a sum over all paths, and the model around it."""

import functools
import itertools
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxtext_ext.decode.ctc_alignment import find_runs
from maxtext_ext.models.ctc import ctc_losses
from maxtext_ext.models.encoders import ENCODERS
from tests.families.toy_ctc_test import noise
from tests.families.toy_encoder import ToyEncoder
from tests.train.processes import environment, xla_flags
from tests.train.steps import Steps

ROWS, FRAMES, SYMBOLS, LABELS = 4, 5, 3, 4

losses = jax.jit(ctc_losses)


@functools.cache
def paths(frames: int) -> dict[tuple[int, ...], np.ndarray]:
  """All paths of so many frames [n, frames], by the labels that they collapse to."""
  found: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
  for path in itertools.product(range(SYMBOLS), repeat=frames):
    found.setdefault(tuple(find_runs(np.array(path, np.int32)).labels.tolist()), []).append(path)
  return {labels: np.array(each, np.int32) for labels, each in found.items()}


def brute_force(logits_FV: np.ndarray, labels: tuple[int, ...]) -> float | None:
  """Nats of the labels, summed over all paths in float64; None where there is no path."""
  logits_FV = logits_FV.astype(np.float64)
  if labels not in (by_labels := paths(len(logits_FV))):
    return None
  log_probs_FV = logits_FV - np.log(np.exp(logits_FV).sum(-1, keepdims=True))
  scores = log_probs_FV[np.arange(len(logits_FV)), by_labels[labels]].sum(-1)
  return float(-np.log(np.exp(scores).sum()))


def arrays(rows: list[tuple[int, tuple[int, ...]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Lengths, labels and marks of rows of (frames, labels)."""
  labels_BN = np.zeros((len(rows), LABELS), np.int32)
  is_label_BN = np.zeros((len(rows), LABELS), bool)
  for row, (_, labels) in enumerate(rows):
    labels_BN[row, : len(labels)] = labels
    is_label_BN[row, : len(labels)] = True
  return np.array([frames for frames, _ in rows], np.int32), labels_BN, is_label_BN


clips = st.tuples(
  st.integers(0, FRAMES), st.lists(st.integers(1, SYMBOLS - 1), max_size=LABELS).map(tuple)
)


@given(
  rows=st.lists(clips, min_size=ROWS, max_size=ROWS),
  seed=st.integers(0, 2**32 - 1),
  scale=st.sampled_from([0.1, 1.0, 10.0]),
)
@settings(max_examples=60)
def test_equals_the_sum_over_all_paths_and_is_zero_where_there_is_none(rows, seed, scale):
  logits = np.random.default_rng(seed).normal(0, scale, (ROWS, FRAMES, SYMBOLS)).astype(np.float32)
  computed = losses(logits, *arrays(rows))
  assert (computed >= 0).all()
  for row, (frames, labels) in enumerate(rows):
    expected = brute_force(logits[row, :frames], labels) or 0.0
    assert computed[row] == pytest.approx(expected, rel=1e-6, abs=1e-5)


def test_a_clip_that_cannot_be_aligned_has_no_gradient():
  logits = np.random.default_rng(0).normal(size=(ROWS, FRAMES, SYMBOLS)).astype(np.float32)
  # A blank stands between equal labels: [1, 1] needs 3 frames, as [1, 2, 1] does.
  lengths, *labels = arrays([(2, (1, 1)), (3, (1, 1)), (2, (1, 2, 1)), (3, (1, 2, 1))])
  gradient = jax.grad(lambda x: jnp.sum(losses(x, lengths, *labels)))(jnp.asarray(logits))
  assert not np.asarray(gradient)[[0, 2]].any()
  assert np.abs(np.asarray(gradient)[[1, 3]]).max(axis=(1, 2)).min() > 0.1
  assert not np.asarray(gradient)[1, 3:].any(), "frames behind the clip"


def test_sure_frames_do_not_make_it_negative():
  labels = (1, 2, 1, 2)
  logits = np.full((1, FRAMES, SYMBOLS), -20.0, np.float32)
  logits[0, np.arange(FRAMES), [*labels, 0]] = 20.0
  assert losses(logits, *arrays([(FRAMES, labels)]))[0] >= 0


CTC = (
  "speech_model=ctc",
  "speech_encoder=toy",
  "encoder={width: 24, num_mel_bins: 40}",
  "vocab_size=8",
)


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setitem(ENCODERS, "toy", ToyEncoder)


def test_it_learns_and_counts_clips_that_cannot_be_aligned():
  steps = Steps(*CTC, "learning_rate=0.05", "dtype=bfloat16")
  assert not any(np.asarray(v).any() for k, v in steps.params.items() if k[-1] == "bias")
  # The last clip gives 2 tokens, and its letters need 3.
  batch = noise([[3, 1, 2], [5, 5], [4, 4]], [300, 120, 20])
  first = steps.step(batch)
  assert (first["target_tokens"], first["clips"], first["unaligned_clips"]) == (5, 3, 1)
  alone = {key: value[:2] for key, value in batch.items()}
  assert steps.loss(batch) == pytest.approx(steps.loss(alone), rel=1e-6)
  for _ in range(20):
    last = steps.step(batch)
  assert last["loss"] < 0.7 * first["loss"]


LMU = (
  "speech_model=ctc",
  "speech_encoder=lmu",
  "encoder={layers: 2, width: 16, heads: 2, memory: 4, memory_d: 3, theta: 10, num_mel_bins: 20,"
  " channels: 4, dropout: 0.0}",
  "vocab_size=8",
  "learning_rate=0.01",
  "per_device_batch_size=1",
  "ici_data_parallelism=-1",
  "ici_fsdp_parallelism=1",
)


def steps_of_lmu() -> list[float]:
  """Losses before and after a step, and the step's metrics, on all devices of this process."""
  rng = np.random.default_rng(0)
  frames = np.clip(np.array([40, 33, 7, 12, 26, 40, 39, 3])[:, None] - 8 * np.arange(5), 0, 8)
  chunks = (8, 5, 1)
  labels = rng.integers(1, 8, (8, 3)).astype(np.int32)
  batch = {
    "samples": rng.normal(0, 0.1, (*chunks, 8 * 160 - 160 + 400)).astype(np.float32),
    "chunk_frames": frames.reshape(chunks).astype(np.int32),
    "chunk_segment": (frames > 0).reshape(chunks).astype(np.int32),
    "targets": labels,
    "targets_segmentation": np.ones_like(labels),  # 3 frames give 2 tokens: one cannot be aligned
  }
  steps = Steps(*LMU)
  before, metrics, after = steps.loss(batch), steps.step(batch), steps.loss(batch)
  return [before, after, *(metrics[k] for k in ("loss", "gradient_norm", "unaligned_clips"))]


@pytest.mark.slow
def test_rows_give_the_same_loss_on_one_and_on_eight_devices():
  code = (
    "import json; from tests.models import ctc_test; print(json.dumps(ctc_test.steps_of_lmu()))"
  )
  run = subprocess.run(
    [sys.executable, "-c", code],
    env=environment(XLA_FLAGS=xla_flags(8)),
    capture_output=True,
    text=True,
    check=True,
  )
  assert json.loads(run.stdout.splitlines()[-1]) == pytest.approx(steps_of_lmu(), rel=1e-6)
