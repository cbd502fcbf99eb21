"""Log-mel against transformers' WhisperFeatureExtractor (its numpy form, without torch)."""

import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from transformers import WhisperFeatureExtractor

from benchmarks.parity.compare import relative
from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.audio.mel import log_mel
from maxtext_ext.input.windows import cut_chunks, frames_of_chunks
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY

Signal = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def noise(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """White noise."""
  return 0.1 * rng.normal(size=t.size)


def chirps(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Like speech: a gliding pitch with harmonics, in syllables, over a faint background."""
  phase = 2 * np.pi * (120 * t + 15 * np.sin(2 * np.pi * 0.7 * t))
  voice = sum(np.sin(k * phase) / k for k in range(1, 20))
  return 0.2 * voice * (np.sin(2 * np.pi * 3 * t) > -0.3) + 1e-3 * rng.normal(size=t.size)


def gated_sweep(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """The hardest for float32: one loud line, with exact silence 80 dB below it all around."""
  del rng
  return 0.5 * np.sin(2 * np.pi * (100 * t + 25 * t**2)) * (np.sin(2 * np.pi * 3 * t) > 0)


def near_silence(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """White noise at -100 dB."""
  return 1e-5 * rng.normal(size=t.size)


def clipped(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """A loud tone, clipped."""
  return np.clip(3 * np.sin(2 * np.pi * 150 * t) + rng.normal(size=t.size), -1, 1)


def offset(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Faint noise on a large constant."""
  return 0.9 + 1e-3 * rng.normal(size=t.size)


def click(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """One sample that is not zero."""
  del rng
  return (np.arange(t.size) == t.size // 2).astype(float)


SIGNALS = [noise, chirps, gated_sweep, near_silence, clipped, offset, click]


def draw(signal: Signal, seconds: float, seed: int = 0) -> np.ndarray:
  """A float32 clip of a signal."""
  samples = round(seconds * SAMPLE_RATE)
  return signal(np.arange(samples) / SAMPLE_RATE, np.random.default_rng(seed)).astype(np.float32)


@functools.cache
def extractor(num_mel_bins: int) -> WhisperFeatureExtractor:
  """The reference's code, with its filters."""
  return WhisperFeatureExtractor(feature_size=num_mel_bins)


def reference(clip: np.ndarray, num_mel_bins: int) -> np.ndarray:
  """[F, M] of the clip, padded as Qwen3-ASR does where it is short, and to no other length."""
  if clip.dtype == np.int16:
    clip = clip.astype(np.float32) / 32_768
  clip = np.pad(clip, (0, max(0, GEOMETRY.min_samples - clip.size)))
  features = extractor(num_mel_bins)(
    clip, sampling_rate=SAMPLE_RATE, padding="do_not_pad", truncation=False, return_tensors="np"
  )
  return features["input_features"][0].T


def one_row(
  clips: list[np.ndarray], order: np.ndarray | None = None, garbage: float = 0.0
) -> tuple[tuple[jax.Array, ...], list[np.ndarray]]:
  """Packs clips into one row.

  Args:
    order: place in the row of each chunk, those of all clips one after the other; None: in order.
    garbage: value of samples that must not count.

  Returns:
    The arguments of log_mel, and the places of each clip's chunks.
  """
  chunks = [cut_chunks(clip, GEOMETRY) for clip in clips]
  counts = [len(c) for c in chunks]
  total = sum(counts)
  windows = -(-(total if order is None else order.max() + 1) // GEOMETRY.chunks_per_window)
  places = np.split(np.arange(total) if order is None else order, np.cumsum(counts)[:-1])
  shape = (windows * GEOMETRY.chunks_per_window, GEOMETRY.chunk_samples)
  samples = np.full(shape, garbage).astype(clips[0].dtype)
  frames, segment = np.zeros((2, shape[0]), np.int32)
  for number, (clip, chunk, place) in enumerate(zip(clips, chunks, places, strict=True), 1):
    samples[place] = chunk
    frames[place] = frames_of_chunks(GEOMETRY.num_frames(clip.size), GEOMETRY)
    segment[place] = number
    if garbage:  # all that lies behind the reflection at the clip's end
      end = (max(clip.size, GEOMETRY.min_samples) + 400) - (len(chunk) - 1) * SAMPLE_RATE
      samples[place[-1], end:] = garbage
  grid = (1, windows, GEOMETRY.chunks_per_window)
  arrays = samples.reshape(*grid, -1), frames.reshape(grid), segment.reshape(grid)
  return tuple(jnp.asarray(a) for a in arrays), places


def max_error(num_mel_bins: int) -> float:
  """Largest relative error over all test signals, each alone in its row."""
  errors = []
  for signal, seconds in itertools.product(SIGNALS, (0.02, 0.5, 1.0, 8.01)):
    clip = draw(signal, seconds)
    arrays, places = one_row([clip])
    mel = np.asarray(log_mel(*arrays, num_mel_bins=num_mel_bins)).reshape(-1, 100, num_mel_bins)
    frames = mel[places[0]].reshape(-1, num_mel_bins)[: GEOMETRY.num_frames(clip.size)]
    errors.append(relative(frames, reference(clip, num_mel_bins)))
  return max(errors)
