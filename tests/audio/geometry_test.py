"""Frame and token counts against the figures of the reference models."""

import numpy as np
import pytest

from maxtext_ext.audio.geometry import HOP, N_FFT, Geometry
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY as QWEN3
from maxtext_ext.models.encoders.whisper import WhisperConfig

WHISPER = WhisperConfig(d_model=2, heads=1, layers=1, ffn_dim=1, stack=5).geometry


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


@pytest.mark.parametrize(
  ("samples", "chunks"),
  [
    (1, 1),
    (19_000, 1),  # frame 119 is the last that sees it
    (19_001, 2),  # frame 120 does
    (460_600, 24),
    (460_601, 25),
    (480_000, 25),
    (480_159, 25),  # less than a frame more: no window for it
    (480_160, 26),
    (499_001, 27),
  ],
)
def test_chunks_of_padded_windows_are_those_with_sound(samples: int, chunks: int):
  assert WHISPER.num_chunks(samples) == chunks
  assert WHISPER.num_chunks(samples) * WHISPER.frames_per_chunk >= WHISPER.num_frames(samples)


def test_a_chunk_holds_what_its_frames_look_at():
  last_frame_start = (QWEN3.frames_per_chunk - 1) * HOP
  assert QWEN3.chunk_samples == last_frame_start + N_FFT == 16_240
  assert (QWEN3.tokens_per_chunk, QWEN3.tokens_per_window) == (13, 104)
  assert QWEN3.chunk_seconds == 1.0


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"stack": 7}, "60 frames of a chunk are no stacks of 7"),
    ({"min_samples": 100}, "reflected"),
    ({"tails_share_windows": True}, "padding is no other clip's"),
    ({"min_samples": 320}, "gives no token"),
  ],
)
def test_a_geometry_that_cannot_be(change: dict[str, int], message: str):
  whisper = {name: getattr(WHISPER, name) for name in WHISPER.__dataclass_fields__}
  with pytest.raises(AssertionError, match=message):
    Geometry(**{**whisper, **change})


def test_the_times_of_tokens():
  """Of 13 tokens of a chunk of 1 s the last one is of 4 frames; a stack is of all its frames."""
  assert [QWEN3.seconds_of(token) for token in (0, 12, 13)] == [(0, 0.08), (0.96, 1.0), (1.0, 1.08)]
  stacked = Geometry(
    frames_per_chunk=120,
    halvings=1,
    stack=5,
    chunks_per_window=2,
    tails_share_windows=False,
    min_samples=1_600,
  )
  assert [stacked.seconds_of(token) for token in (0, 11, 12)] == [(0, 0.1), (1.1, 1.2), (1.2, 1.3)]
