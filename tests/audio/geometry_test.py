"""Frame and token counts against the figures of the reference."""

import numpy as np
import pytest

from maxtext_ext.audio import geometry


@pytest.mark.parametrize(
  ("count", "tokens"),
  [
    (0, 0),
    (1, 1),
    (7, 1),
    (37, 5),
    (61, 8),
    (99, 13),
    (100, 13),
    (305, 40),
    (930, 121),
    (1730, 225),
  ],
)
def test_tokens_of_a_clip(count: int, tokens: int):
  assert geometry.audio_tokens(count) == tokens
  assert geometry.audio_tokens(np.array([count])).tolist() == [tokens]


@pytest.mark.parametrize(
  ("samples", "count"), [(1, 50), (7_999, 50), (8_000, 50), (8_159, 50), (8_160, 51), (16_000, 100)]
)
def test_frames_of_a_clip(samples: int, count: int):
  assert geometry.num_frames(samples) == count


def test_a_chunk_holds_what_its_frames_look_at():
  last_frame_start = (geometry.FRAMES_PER_CHUNK - 1) * geometry.HOP
  assert geometry.CHUNK_SAMPLES == last_frame_start + geometry.N_FFT == 16_240
  assert geometry.TOKENS_PER_WINDOW == 104
