"""Frame and token counts against the figures of the reference models."""

import numpy as np
import pytest

from maxtext_ext.audio.geometry import HOP, N_FFT, Geometry
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY as QWEN3

# Whisper's encoder, and a projector that stacks 5 of its 1,500 positions in 30 s.
WHISPER = Geometry(
  frames_per_chunk=100,
  halvings=1,
  stack=5,
  chunks_per_window=30,
  tails_share_windows=False,
  min_samples=1_600,
)


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
  assert QWEN3.tokens(count) == tokens
  assert QWEN3.tokens(np.array([count])).tolist() == [tokens]


def test_stacks_of_a_clip_are_those_of_all_its_halved_frames():
  frames = np.arange(3_001)
  np.testing.assert_array_equal(WHISPER.tokens(frames), -(-frames // 2) // 5)
  assert WHISPER.tokens_per_window == 300


@pytest.mark.parametrize(
  ("samples", "frames", "chunks"),
  [
    (1, 50, 1),
    (7_999, 50, 1),
    (8_159, 50, 1),
    (8_160, 51, 1),
    (16_159, 100, 1),
    (16_160, 101, 2),
  ],
)
def test_frames_and_chunks_of_a_clip(samples: int, frames: int, chunks: int):
  assert QWEN3.num_frames(samples) == frames
  assert QWEN3.num_chunks(samples) == chunks
  assert QWEN3.num_tokens(samples) == QWEN3.tokens(frames)


def test_a_chunk_holds_what_its_frames_look_at():
  last_frame_start = (QWEN3.frames_per_chunk - 1) * HOP
  assert QWEN3.chunk_samples == last_frame_start + N_FFT == 16_240
  assert (QWEN3.tokens_per_chunk, QWEN3.tokens_per_window) == (13, 104)
  assert QWEN3.chunk_seconds == 1.0


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"stack": 4}, "50 frames of a chunk are no stacks of 4"),
    ({"min_samples": 100}, "reflected"),
    ({"min_samples": 320}, "gives no token"),
  ],
)
def test_a_geometry_that_cannot_be(change: dict[str, int], message: str):
  whisper = {name: getattr(WHISPER, name) for name in WHISPER.__dataclass_fields__}
  with pytest.raises(AssertionError, match=message):
    Geometry(**{**whisper, **change})
