import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.audio.geometry import HOP, N_FFT, Geometry
from maxtext_ext.input.windows import (
  Placement,
  alone_and_tail,
  audio_index,
  cut_chunks,
  frames_of_chunks,
  write_chunks,
)
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY as QWEN3
from maxtext_ext.models.encoders.whisper import WhisperConfig

OWN_WINDOWS = Geometry(
  frames_per_chunk=40, halvings=2, chunks_per_window=5, tails_share_windows=False, min_samples=900
)
PADDED = WhisperConfig(d_model=2, heads=1, layers=1, ffn_dim=1).geometry
SHORT_PADDED = dataclasses.replace(OWN_WINDOWS, padded_windows=True)
EDGES = [1, 199, 200, 7_999, 8_000, 8_001, 15_801, 15_959, 15_960, 15_999, 16_000, 16_001, 16_039]
EDGES += [16_040, 16_041, 16_159, 16_160, 24_000, 31_999, 127_999, 128_000, 128_160, 480_000]


def check_against_centred_stft(samples, geometry):
  """Every frame sees in its chunk what it sees in the whole clip, reflected at the ends."""
  clip = np.pad(samples, (0, max(0, geometry.min_samples - len(samples))))
  clip = np.pad(clip, N_FFT // 2, mode="reflect")
  chunks = cut_chunks(samples, geometry)
  assert chunks.shape == (geometry.num_chunks(len(samples)), geometry.chunk_samples)
  assert chunks.dtype == samples.dtype
  for frame in range(geometry.num_frames(len(samples))):
    chunk, inside = divmod(frame, geometry.frames_per_chunk)
    got = chunks[chunk, inside * HOP : inside * HOP + N_FFT]
    np.testing.assert_array_equal(got, clip[frame * HOP : frame * HOP + N_FFT])


@pytest.mark.parametrize("length", EDGES)
def test_frames_see_the_samples_of_a_centred_stft(length):
  samples = np.random.default_rng(length).standard_normal(length, np.float32)
  check_against_centred_stft(samples, QWEN3)


@pytest.mark.parametrize("geometry", [QWEN3, OWN_WINDOWS])
@given(length=st.integers(1, 50_000))
def test_frames_see_the_samples_of_a_centred_stft_at_any_length(geometry, length):
  check_against_centred_stft(np.arange(1, length + 1, dtype=np.int16), geometry)


def check_against_padded_windows(samples, geometry):
  """Every frame sees what it sees in its part of the clip, padded to a window and reflected."""
  size, per_chunk = geometry.chunks_per_window, geometry.frames_per_chunk
  chunks = cut_chunks(samples, geometry)
  assert len(chunks) == geometry.num_chunks(len(samples))
  whole = -(-len(chunks) // size)
  # What a batch holds: zeros behind the chunks.
  held = np.pad(chunks, ((0, whole * size - len(chunks)), (0, 0)))
  for window in range(whole):
    part = samples[window * size * geometry.chunk_hop : (window + 1) * size * geometry.chunk_hop]
    part = np.pad(part, (0, size * geometry.chunk_hop - len(part)))
    part = np.pad(part, N_FFT // 2, mode="reflect")
    for frame in range(size * per_chunk):
      chunk, inside = divmod(frame, per_chunk)
      got = held[window * size + chunk, inside * HOP : inside * HOP + N_FFT]
      np.testing.assert_array_equal(
        got, part[frame * HOP : frame * HOP + N_FFT], err_msg=f"{frame}"
      )


@pytest.mark.parametrize("length", [1, 19_000, 19_001, 479_900, 480_000, 480_100, 480_160, 700_000])
def test_frames_of_padded_windows_see_each_part_of_a_clip_alone(length):
  check_against_padded_windows(np.arange(1, length + 1, dtype=np.int32), PADDED)


@given(length=st.integers(1, 70_000))
def test_frames_of_padded_windows_see_each_part_of_a_clip_alone_at_any_length(length):
  check_against_padded_windows(np.arange(1, length + 1, dtype=np.int32), SHORT_PADDED)


def test_chunks_hold_no_sample_behind_the_clip():
  chunks = cut_chunks(np.ones(20_000, np.float32), QWEN3)
  assert chunks.shape[0] == 2
  # The second chunk starts at sample 15 800; the clip and its reflection end at 20 200.
  np.testing.assert_array_equal(chunks[1, :4_400], 1)
  np.testing.assert_array_equal(chunks[1, 4_400:], 0)


@pytest.mark.parametrize("geometry", [QWEN3, SHORT_PADDED])
@given(data=st.data(), length=st.integers(1, 100_000), dtype=st.sampled_from(["<f4", "<i2"]))
def test_any_run_of_chunks_is_written_over_what_was_there(geometry, data, length, dtype):
  stored = b"x" + np.arange(1, length + 1).astype(dtype).tobytes()
  samples = np.frombuffer(stored, dtype, offset=1)  # not aligned, and read-only
  chunks = cut_chunks(samples.copy(), geometry)
  first = data.draw(st.integers(0, len(chunks) - 1))
  stop = data.draw(st.integers(first + 1, len(chunks)))
  out = np.full((stop - first, geometry.chunk_samples), 77, dtype)
  write_chunks(samples, first, out, geometry)
  np.testing.assert_array_equal(out, chunks[first:stop])


@pytest.mark.parametrize(
  ("frames", "chunks"), [(1, [1]), (99, [99]), (100, [100]), (101, [100, 1]), (230, [100, 100, 30])]
)
def test_frames_of_chunks(frames, chunks):
  assert frames_of_chunks(frames, QWEN3).tolist() == chunks


@pytest.mark.parametrize(
  ("tokens", "place", "expected"),
  [
    (3, Placement(0, 2, 5), [2 * 104 + 5 * 13, 2 * 104 + 5 * 13 + 1, 2 * 104 + 5 * 13 + 2]),
    (14, Placement(7, 0, 0), list(range(14))),  # first_window means nothing without full windows
    (98, Placement(1), list(range(104, 202))),  # 7.5 s: 8 chunks, the last one partial
    (104, Placement(3), list(range(312, 416))),
    (106, Placement(0, 4, 6), [*range(104), 4 * 104 + 6 * 13, 4 * 104 + 6 * 13 + 1]),
    (210, Placement(2, 1, 1), [*range(208, 416), 104 + 13, 104 + 14]),
  ],
)
def test_audio_index(tokens, place, expected):
  assert audio_index(tokens, place, QWEN3).tolist() == expected


@pytest.mark.parametrize(("chunks", "shared", "own"), [(19, (2, 3), (3, 0)), (8, (1, 0), (1, 0))])
def test_a_tail_shares_a_window_or_has_one_alone(chunks, shared, own):
  assert alone_and_tail(chunks, QWEN3) == shared
  assert alone_and_tail(chunks, dataclasses.replace(QWEN3, tails_share_windows=False)) == own
