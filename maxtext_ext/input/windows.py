"""Cutting of a clip's samples into chunks for the log-mel on the device. Pure numpy."""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from maxtext_ext.audio.geometry import N_FFT, Geometry

PAD = N_FFT // 2  # samples of reflection on both sides, as a centred STFT has


@dataclass(frozen=True, slots=True)
class Placement:
  """Placement of a clip's chunks in the windows of a row.

  The windows that it has alone are `first_window`, `first_window + 1`, ...; its tail starts at
  chunk `tail_chunk` of window `tail_window` (both -1 where the clip has no tail).
  """

  first_window: int
  tail_window: int = -1
  tail_chunk: int = -1


def alone_and_tail[T: (int, np.ndarray)](chunks: T, geometry: Geometry) -> tuple[T, T]:
  """Counts the windows that a clip fills alone, and the chunks of its tail in a shared window.

  With 8 chunks a window: 19 -> (2, 3); where tails share no windows, 19 -> (3, 0).
  """
  size = geometry.chunks_per_window
  if geometry.tails_share_windows:
    return divmod(chunks, size)
  return -(-chunks // size), chunks * 0


def frames_of_chunks(frames: int, geometry: Geometry) -> np.ndarray:
  """int32 [n]: real frames in each chunk; with 100 frames a chunk: 230 -> [100, 100, 30]."""
  size = geometry.frames_per_chunk
  counts = np.full(-(-frames // size), size, np.int32)
  if frames % size:
    counts[-1] = frames % size
  return counts


def cut_chunks(samples: np.ndarray, geometry: Geometry) -> np.ndarray:
  """Cuts a clip into overlapping chunks, each holding every sample that its frames look at.

  [T] -> [n, chunk_samples], same dtype; n = geometry.num_chunks(T). The clip is zero-padded to
  `min_samples` and reflected by 200 samples at both ends, so frame f of chunk k is the frame
  frames_per_chunk * k + f of the clip's centred STFT (Whisper's log-mel). The last chunk's
  samples are followed by zeros, which no real frame covers. With `padded_windows` the clip is
  zero-padded to whole windows, and each of them is reflected like a clip.
  """
  chunks = np.empty((geometry.num_chunks(len(samples)), geometry.chunk_samples), samples.dtype)
  write_chunks(samples, 0, chunks, geometry)
  return chunks


def write_chunks(samples: np.ndarray, first: int, out: np.ndarray, geometry: Geometry) -> None:
  """Writes the chunks first, first + 1, ... of a clip, see `cut_chunks`, to `out` [m, S].

  Args:
    samples: [T] of the type of `out`, not necessarily aligned.
    first: the first chunk of the clip that is wanted; it has at least first + m.
    out: overwritten.
  """
  if (missing := geometry.min_samples - len(samples)) > 0:
    samples = np.concatenate([samples, np.zeros(missing, samples.dtype)])
  if geometry.padded_windows:
    _write_padded(samples, first, out, geometry)
    return
  hop, last = geometry.chunk_hop, geometry.num_chunks(len(samples)) - 1
  stop = first + len(out)
  assert 0 <= first < stop <= last + 1, f"chunks {first} to {stop} of {last + 1}"
  # Chunks that reach beyond neither end are views of the clip, of which neighbours share some
  # samples: one copy, straight to where they belong.
  begin, end = max(first, 1), min(stop, last)
  if begin < end:
    size = samples.itemsize
    inner = np.ndarray(
      (end - begin, geometry.chunk_samples),
      samples.dtype,
      samples,
      offset=(begin * hop - PAD) * size,
      strides=(hop * size, size),
    )
    out[begin - first : end - first] = inner
  for chunk in {0, last}.intersection(range(first, stop)):
    _write_at_the_end(samples, chunk, out[chunk - first], hop)


def _write_padded(samples: np.ndarray, first: int, out: np.ndarray, geometry: Geometry) -> None:
  """Writes chunks of padded windows; those behind the clip are zeros."""
  size, hop = geometry.chunks_per_window, geometry.chunk_hop
  stop = first + len(out)
  for window in range(first // size, -(-stop // size)):
    part = samples[window * size * hop : (window + 1) * size * hop]
    padded = np.zeros(size * hop + 2 * PAD, samples.dtype)
    padded[PAD : PAD + len(part)] = part
    padded[:PAD] = padded[2 * PAD : PAD : -1]
    padded[-PAD:] = padded[-PAD - 2 : -2 * PAD - 2 : -1]
    chunks = sliding_window_view(padded, geometry.chunk_samples)[::hop]
    begin, end = max(first, window * size), min(stop, (window + 1) * size)
    out[begin - first : end - first] = chunks[begin - window * size : end - window * size]


def _write_at_the_end(samples: np.ndarray, chunk: int, out: np.ndarray, hop: int) -> None:
  """Writes a clip's first or last chunk, which may be the same."""
  start = chunk * hop - PAD  # of the chunk in the clip
  mirrored = PAD if chunk == 0 else 0
  kept = samples[start + mirrored : start + len(out)]
  reached = mirrored + len(kept)
  out[:mirrored] = samples[mirrored:0:-1]
  out[mirrored:reached] = kept
  behind = min(PAD, len(out) - reached)
  out[reached : reached + behind] = samples[-2 : -2 - behind : -1]
  out[reached + behind :] = 0


def audio_index(tokens: int, place: Placement, geometry: Geometry) -> np.ndarray:
  """Returns int32 [tokens]: the clip's tokens among the row's.

  With 13 tokens a chunk and 8 chunks a window: window * 104 + chunk * 13 + token.
  """
  size = geometry.tokens_per_window
  index = np.arange(tokens, dtype=np.int32)
  tail_start = tokens // size * size
  index[:tail_start] += place.first_window * size
  if place.tail_window >= 0:
    tail = place.tail_window * size + place.tail_chunk * geometry.tokens_per_chunk
    index[tail_start:] += tail - tail_start
  else:  # a last window that the clip has alone and fills in part, as 7.5 s of 8 s
    index[tail_start:] += place.first_window * size
  return index
