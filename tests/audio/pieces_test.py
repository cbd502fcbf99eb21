"""Pieces of long audio: they cover it once, in bounded memory, and do not depend on the blocks."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.audio.pieces import Piece, cut_pieces, is_silence, loud_spans
from maxtext_ext.audio.voice import FRAME


def speech_like(seconds: float, seed: int = 0) -> np.ndarray:
  """Bursts of noise between pauses of a tenth of a second to four seconds."""
  rng = np.random.default_rng(seed)
  samples = rng.normal(scale=0.1, size=round(seconds * SAMPLE_RATE)).astype(np.float32)
  at = 0.0
  while at < seconds:
    at += rng.uniform(0.3, 4)
    pause = rng.choice([0.1, 0.5, 4.0])
    samples[round(at * SAMPLE_RATE) : round((at + pause) * SAMPLE_RATE)] *= 1e-3
    at += pause
  return samples


def in_blocks(samples: np.ndarray, sizes: list[int]):
  sizes = itertools.cycle([*sizes, 1 << 16])
  first = 0
  while first < len(samples):
    size = next(sizes)
    yield samples[first : first + size]
    first += size


def by_level(samples: np.ndarray) -> np.ndarray:
  """A detector that takes whatever is loud for speech."""
  assert len(samples) % FRAME == 0
  return np.abs(samples.reshape(-1, FRAME)).mean(axis=1) > 1e-3


def start_and_length(pieces: list[Piece]) -> list[tuple[int, int]]:
  return [(piece.start, len(piece.samples)) for piece in pieces]


@settings(max_examples=30, deadline=None)
@given(
  seconds=st.floats(0.001, 60),
  limit=st.integers(SAMPLE_RATE, 15 * SAMPLE_RATE),
  sizes=st.lists(st.integers(0, 100_000), max_size=4),
  detects=st.booleans(),
)
def test_pieces_cover_the_audio_exactly_once(seconds, limit, sizes, detects):
  samples = speech_like(seconds)
  detector = by_level if detects else None
  pieces = list(cut_pieces(in_blocks(samples, sizes), limit, detector))
  np.testing.assert_array_equal(np.concatenate([piece.samples for piece in pieces]), samples)
  assert [piece.start for piece in pieces] == [
    0,
    *itertools.accumulate(len(piece.samples) for piece in pieces),
  ][:-1]
  assert max(len(piece.samples) for piece in pieces) <= limit
  whole = list(cut_pieces([samples], limit, detector))
  assert start_and_length(pieces) == start_and_length(whole), "blocks do not matter"
  assert [piece.speech for piece in pieces] == [piece.speech for piece in whole]
  for piece in pieces:
    bounds = [0, *itertools.chain.from_iterable(piece.speech), len(piece.samples)]
    assert bounds == sorted(bounds)


def test_nothing_has_no_pieces():
  assert list(cut_pieces([], SAMPLE_RATE)) == []
  assert list(cut_pieces([np.zeros(0, np.float32)], SAMPLE_RATE)) == []


def test_a_detector_parts_speech_from_pauses():
  samples = np.zeros(30 * SAMPLE_RATE, np.float32)
  loud = [(3, 6), (10, 11), (11.5, 13), (29, 30)]
  for first, last in loud:
    samples[round(first * SAMPLE_RATE) : round(last * SAMPLE_RATE)] = 0.1
  pieces = list(cut_pieces([samples], 20 * SAMPLE_RATE, by_level))
  spoken = [piece for piece in pieces if not piece.is_silent]
  found = [
    ((piece.start + first) / SAMPLE_RATE, (piece.start + last) / SAMPLE_RATE)
    for piece in spoken
    for first, last in piece.speech
  ]
  np.testing.assert_allclose(found, loud, atol=0.04)
  assert len(spoken) == 3, "a short pause does not part"
  assert sum(len(piece.samples) for piece in spoken) < 9 * SAMPLE_RATE, "long pauses are left out"


def test_silence_and_steady_noise():
  rng = np.random.default_rng(0)
  hiss = rng.normal(size=5 * SAMPLE_RATE).astype(np.float32)
  assert is_silence(hiss * 1e-4)
  assert not is_silence(hiss * 1e-2)
  assert loud_spans(hiss * 1e-2) == []
  word = hiss * 1e-4
  word[SAMPLE_RATE : SAMPLE_RATE + 2_000] = 0.01
  assert not is_silence(word), "one short word"
  ((first, last),) = loud_spans(word)
  assert (first, last) == (SAMPLE_RATE, pytest.approx(SAMPLE_RATE + 2_000, abs=400))
  assert is_silence(np.zeros(5, np.float32))
  assert loud_spans(hiss[:5]) == []


def test_pieces_have_a_shortest_limit():
  with pytest.raises(ValueError, match=r"pieces of 0\.5 s, expected at least 1 s"):
    next(cut_pieces([np.zeros(5, np.float32)], SAMPLE_RATE // 2))


# Compressed silence of an hour is small, and an hour of float32 samples is 230 MB.
MEMORY = """
import resource, sys
import numpy as np, soundfile
from maxtext_ext.audio.io import load_blocks
from maxtext_ext.audio.pieces import cut_pieces
path, seconds = sys.argv[1], int(sys.argv[2])
with soundfile.SoundFile(path, "w", 16_000, 1, format="FLAC", subtype="PCM_16") as file:
  for _ in range(seconds // 10):
    file.write(np.full(160_000, 0.1, np.float32))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
total = sum(len(piece.samples) for piece in cut_pieces(load_blocks(path), 30 * 16_000))
assert total == seconds * 16_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_does_not_grow_with_the_recording(tmp_path):
  grown = subprocess.run(
    [sys.executable, "-c", MEMORY, str(tmp_path / "long.flac"), "3600"],
    capture_output=True,
    text=True,
    check=True,
  )
  assert int(grown.stdout) < 60_000, "kB; the samples would take 230 MB"
