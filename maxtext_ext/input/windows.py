"""From the samples of a clip to the chunks that the device turns into mel frames. Pure numpy."""

from dataclasses import dataclass

import numpy as np

from maxtext_ext.audio.frames import (
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
  real frame sees. The chunks are a view of one buffer, in which neighbours share 240 samples: copy
  before writing.
  """
  chunks = num_chunks(len(samples))
  padded = np.zeros(chunks * CHUNK_HOP + (CHUNK_SAMPLES - CHUNK_HOP), samples.dtype)
  length = max(len(samples), MIN_SAMPLES)
  if len(samples) < MIN_SAMPLES:
    samples = np.concatenate([samples, np.zeros(MIN_SAMPLES - len(samples), samples.dtype)])
  # The clip may end before the buffer or, by less than a hop, behind it.
  kept = min(length, len(padded) - PAD)
  padded[:PAD] = samples[PAD:0:-1]
  padded[PAD : PAD + kept] = samples[:kept]
  mirrored = min(PAD, len(padded) - PAD - kept)
  padded[PAD + kept : PAD + kept + mirrored] = samples[-2 : -2 - mirrored : -1]
  return np.lib.stride_tricks.as_strided(
    padded,
    (chunks, CHUNK_SAMPLES),
    (CHUNK_HOP * padded.itemsize, padded.itemsize),
    writeable=False,
  )


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
