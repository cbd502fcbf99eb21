"""From the samples of a clip to the chunks that the device turns into mel frames. Pure numpy."""

from dataclasses import dataclass

import numpy as np

from maxtext_ext.audio.geometry import (
  CHUNK_HOP,
  CHUNK_SAMPLES,
  CHUNKS_PER_WINDOW,
  FRAMES_PER_CHUNK,
  MIN_SAMPLES,
  N_FFT,
  TOKENS_PER_CHUNK,
  TOKENS_PER_WINDOW,
  num_frames,
)

PAD = N_FFT // 2  # samples of reflection on both sides, as a centred STFT has


@dataclass(frozen=True, slots=True)
class Placement:
  """Where a clip's chunks stand among the windows of a row.

  Its full windows fill `first_window`, `first_window + 1`, ...; its tail of 1 to 7 chunks starts at
  chunk `tail_chunk` of window `tail_window` (both -1 where the clip has no tail).
  """

  first_window: int
  tail_window: int = -1
  tail_chunk: int = -1


def num_chunks(samples: int) -> int:
  """Chunks of a clip of `samples` samples; the last one may be partial."""
  return -(-num_frames(samples) // FRAMES_PER_CHUNK)


def full_and_tail[T: (int, np.ndarray)](chunks: T) -> tuple[T, T]:
  """Windows that a clip fills alone, and the chunks left over (0 to 7): 19 -> (2, 3)."""
  return divmod(chunks, CHUNKS_PER_WINDOW)


def frames_of_chunks(frames: int) -> np.ndarray:
  """int32 [n]: real frames in each chunk: 230 -> [100, 100, 30]."""
  counts = np.full(-(-frames // FRAMES_PER_CHUNK), FRAMES_PER_CHUNK, np.int32)
  if frames % FRAMES_PER_CHUNK:
    counts[-1] = frames % FRAMES_PER_CHUNK
  return counts


def cut_chunks(samples: np.ndarray) -> np.ndarray:
  """Cuts a clip into overlapping chunks, each holding every sample that its frames look at.

  [T] -> [n, CHUNK_SAMPLES], same dtype; n = num_chunks(T). The clip is zero-padded to MIN_SAMPLES
  and reflected by 200 samples at both ends, so frame f of chunk k is the frame 100 k + f of the
  clip's centred STFT (Whisper's log-mel). Behind the last chunk's samples stand zeros, which no
  real frame sees.
  """
  chunks = np.empty((num_chunks(len(samples)), CHUNK_SAMPLES), samples.dtype)
  write_chunks(samples, 0, chunks)
  return chunks


def write_chunks(samples: np.ndarray, first: int, out: np.ndarray) -> None:
  """Writes the chunks first, first + 1, ... of a clip, see `cut_chunks`, to `out` [m, 16240].

  Args:
    samples: [T] of the type of `out`, not necessarily aligned.
    first: the first chunk of the clip that is wanted; it has at least first + m.
    out: overwritten, no matter what it holds.
  """
  if len(samples) < MIN_SAMPLES:
    samples = np.concatenate([samples, np.zeros(MIN_SAMPLES - len(samples), samples.dtype)])
  last = num_chunks(len(samples)) - 1
  stop = first + len(out)
  assert 0 <= first < stop <= last + 1, f"chunks {first} to {stop} of {last + 1}"
  # Chunks that reach beyond neither end are views of the clip, of which neighbours share 240
  # samples: one copy, straight to where they belong.
  begin, end = max(first, 1), min(stop, last)
  if begin < end:
    size = samples.itemsize
    inner = np.ndarray(
      (end - begin, CHUNK_SAMPLES),
      samples.dtype,
      samples,
      offset=(begin * CHUNK_HOP - PAD) * size,
      strides=(CHUNK_HOP * size, size),
    )
    out[begin - first : end - first] = inner
  for chunk in {0, last}.intersection(range(first, stop)):
    _write_at_the_end(samples, chunk, out[chunk - first])


def _write_at_the_end(samples: np.ndarray, chunk: int, out: np.ndarray) -> None:
  """Writes a clip's first or last chunk, which may be the same."""
  start = chunk * CHUNK_HOP - PAD  # of the chunk in the clip
  mirrored = PAD if chunk == 0 else 0
  kept = samples[start + mirrored : start + CHUNK_SAMPLES]
  reached = mirrored + len(kept)
  out[:mirrored] = samples[mirrored:0:-1]
  out[mirrored:reached] = kept
  behind = min(PAD, CHUNK_SAMPLES - reached)
  out[reached : reached + behind] = samples[-2 : -2 - behind : -1]
  out[reached + behind :] = 0


def audio_index(tokens: int, place: Placement) -> np.ndarray:
  """int32 [tokens]: the clip's tokens among the row's: window * 104 + chunk * 13 + token."""
  index = np.arange(tokens, dtype=np.int32)
  tail_start = tokens // TOKENS_PER_WINDOW * TOKENS_PER_WINDOW
  index[:tail_start] += place.first_window * TOKENS_PER_WINDOW
  if place.tail_window >= 0:
    index[tail_start:] += (
      place.tail_window * TOKENS_PER_WINDOW + place.tail_chunk * TOKENS_PER_CHUNK - tail_start
    )
  else:  # a last window of 8 chunks that is only partly filled, as 7.5 s
    index[tail_start:] += place.first_window * TOKENS_PER_WINDOW
  return index
