import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.host_augment import SpecAugment
from maxtext_ext.input.spec_augment import chunk_masks, record_seed
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY as QWEN3


@given(
  frames=st.integers(1, 3_000),
  mel_width=st.integers(0, 80),
  frame_width=st.integers(0, 250),
  seed=st.integers(0, 2**32),
)
def test_masks_stay_inside_and_under_their_width(frames, mel_width, frame_width, seed):
  config = SpecAugment(spec_augment_mels=mel_width, spec_augment_frames=frame_width)
  masks = chunk_masks(config, frames, (seed,), mel_bins=80, geometry=QWEN3)
  assert masks.shape == (-(-frames // 100), 4)
  mel_from, mel_to, frame_from, frame_to = masks.T
  assert ((mel_from >= 0) & (mel_to <= 80) & (mel_to - mel_from <= mel_width)).all()
  assert (masks[:, :2] == masks[0, :2]).all()  # one band for the clip
  assert ((frame_from >= 0) & (frame_from <= frame_to) & (frame_to <= 100)).all()
  start = 100 * np.arange(len(masks))
  masked = np.concatenate(
    [np.arange(a, b) for a, b in zip(start + frame_from, start + frame_to, strict=True)]
  )
  assert (masked < frames).all()
  for window in range(0, frames, 800):
    inside = masked[(masked >= window) & (masked < window + 800)]
    assert len(inside) <= frame_width
    assert (np.diff(inside) == 1).all()  # one span


def test_wide_masks_are_drawn():
  config = SpecAugment(spec_augment_mels=10, spec_augment_frames=150)
  masks = np.concatenate(
    [chunk_masks(config, 900, (seed,), mel_bins=128, geometry=QWEN3) for seed in range(200)]
  )
  assert (masks[:, 1] - masks[:, 0]).max() == 10
  assert (masks[:, 3] - masks[:, 2]).max() == 100
  assert masks[:, 1].max() == 128


def test_nothing_is_masked_when_off():
  assert not SpecAugment().on
  assert not InputConfig(geometry=QWEN3).spec_augment.on
  assert not chunk_masks(SpecAugment(), 950, (0,), mel_bins=128, geometry=QWEN3).any()


def test_draws_differ_by_record_and_epoch_only():
  assert record_seed(1, 0, "a") == record_seed(1, 0, "a")
  assert len({record_seed(s, e, i) for s in (0, 1) for e in (0, 1) for i in ("a", "b")}) == 8


@pytest.mark.parametrize("key", ["spec_augment_mels", "spec_augment_frames"])
def test_widths_are_checked(key):
  with pytest.raises(ValueError, match=rf"{key}\n.*greater than or equal to 0"):
    SpecAugment(**{key: -1})
