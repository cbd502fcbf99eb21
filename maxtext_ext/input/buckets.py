"""Length buckets: lengths of rows, chosen from the data, and the rows of a batch of each.

A row of a bucketed batch holds one clip, so every row is as long as the longest clip of its bucket.
Each bucket is a program of its own. The limits follow from lengths and keys alone, so they are the
same on all hosts and when a run resumes.
"""

import bisect
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maxtext_ext.audio.geometry import HOP
from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.reading import NoiseData, Silent, SilentData
from maxtext_ext.input.row_windows import Sample

MOST_BUCKETS = 32
PADDING = 0.05  # share of the frames of all rows
_LEVELS = 512  # lengths that limits are chosen among
_DRAWS = 9  # that stand for all draws of a range


@dataclass(frozen=True, kw_only=True)
class Buckets:
  """Buckets of a run.

  Attributes:
    config: rows of a batch on this host, or seconds of a pass on each device.
    limits: windows of a row in each bucket, rising.
  """

  config: InputConfig
  limits: tuple[int, ...]

  @classmethod
  def of_sample(cls, config: InputConfig, sample: Sample) -> "Buckets":
    """Chooses the buckets for a run's data.

    Args:
      sample: the datasets, and elements of them in the proportions of the run.
    """
    frames, weights = frames_of_clips(config, sample)
    longest = windows_of(config, longest_seconds(config, sample.datasets))
    unit = config.geometry.frames_per_chunk * config.geometry.chunks_per_window
    most = config.packing.length_buckets or MOST_BUCKETS
    padding = 0.0 if config.packing.length_buckets else PADDING
    limits = choose_limits(frames, weights, unit, longest, most, padding)
    return cls(config=config, limits=limits)

  def bucket(self, windows: int) -> int:
    """Returns the windows of a row for a clip of so many."""
    return self.limits[bisect.bisect_left(self.limits, windows)]

  def rows(self, windows: int) -> int:
    """Returns the rows of a batch on this host in a bucket."""
    return rows_of(self.config, windows)


def rows_of(config: InputConfig, windows: int) -> int:
  """Returns the rows of a host's batch whose rows have so many windows.

  Example: with per_device_batch_seconds=100, 4 devices and windows of 1 s, 80 rows of 5 windows and
  32 of 12; of 150 windows 4, one for each device.
  """
  seconds = config.packing.per_device_batch_seconds
  if not seconds:
    return config.rows
  rows = int(seconds / (windows * config.geometry.window_seconds) + 1e-9)  # 16 of 15.999...
  return config.row_multiple * max(1, rows)


def windows_of(config: InputConfig, seconds: float) -> int:
  """Returns the windows that a clip of so many seconds needs."""
  chunks = config.geometry.num_chunks(math.ceil(seconds * SAMPLE_RATE))
  return -(-chunks // config.geometry.chunks_per_window)


def longest_seconds(config: InputConfig, datasets: Sequence[Silent]) -> float:
  """Returns the length of the longest clip within `max_seconds`, at its slowest speed."""
  longest = 0.0
  for data in datasets:
    if isinstance(data, NoiseData):
      longest = max(longest, config.noise_only.noise_only_seconds[1])
    else:
      longest = max(longest, _samples(config, data).max(initial=0) / SAMPLE_RATE)
  slowest = round(config.augment.speed_range[0] * SAMPLE_RATE) / SAMPLE_RATE  # as `perturb` has it
  return max(longest, min(longest / slowest, config.filters.max_seconds))


def frames_of_clips(config: InputConfig, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
  """Returns the frames of a run's clips at all speeds, and how often they come: [n] and [n]."""
  turns = Counter(element.dataset for element in sample.elements)
  speeds = np.unique(np.linspace(*config.augment.speed_range, _DRAWS))
  frames, weights = [], []
  for number, data in enumerate(sample.datasets):
    if isinstance(data, NoiseData):
      seconds = np.linspace(*config.noise_only.noise_only_seconds, _DRAWS)
      samples = seconds * SAMPLE_RATE
    else:
      stored = _samples(config, data)
      most = np.maximum(stored, config.filters.max_seconds * SAMPLE_RATE)
      samples = np.minimum(stored / speeds[:, None], most).ravel()
    padded = np.maximum(samples, config.geometry.min_samples).astype(np.int64)
    frames.append(padded // HOP)
    weights.append(np.full(len(padded), turns[number] / max(len(padded), 1)))
  return np.concatenate(frames), np.concatenate(weights)


def _samples(config: InputConfig, data: SilentData) -> np.ndarray:
  """Returns the stored lengths of the clips that pass the filters of length."""
  assert data.lengths is not None, "batches are planned from all lengths"
  samples, filters = data.lengths.samples, config.filters
  seconds = samples / SAMPLE_RATE  # those that cannot be read are below 0
  return samples[(seconds >= filters.min_seconds) & (seconds <= filters.max_seconds)]


def choose_limits(
  frames: np.ndarray, weights: np.ndarray, unit: int, longest: int, most: int, padding: float
) -> tuple[int, ...]:
  """Chooses limits of the fewest buckets with little padding, or of `most` buckets.

  The limits of a number of buckets are the best there are, by dynamic programming over the lengths.

  Args:
    frames: [n], of each clip.
    weights: [n], how often it comes.
    unit: frames of a window.
    longest: windows of the longest clip of all, the last limit.
    most: buckets at most.
    padding: share of the frames of all rows that may be empty.

  Returns:
    windows of the buckets, rising.
  """
  step = -(-longest // _LEVELS)  # windows; of very long clips not every length is tried
  windows = np.minimum(-(-frames // (unit * step)) * step, longest)
  limits, places = np.unique(np.append(windows, longest), return_inverse=True)
  counts = np.bincount(places, np.append(weights, 0.0))
  clips = np.concatenate([[0.0], np.cumsum(counts)])
  # best[j]: least windows of the rows for the clips of the first j limits.
  best = np.concatenate([[0.0], np.full(len(limits), np.inf)])
  choices: list[np.ndarray] = []
  real = float(frames @ weights) / unit
  for _ in range(min(most, len(limits))):
    # One bucket more, whose limit is limits[j - 1], for the clips from limits[i] on.
    total_ij = best[:, None] + (clips[None, :] - clips[:, None]) * np.append(0, limits)[None, :]
    total_ij[np.tril_indices(len(clips))] = np.inf
    choices.append(total_ij.argmin(axis=0))
    best = total_ij.min(axis=0)
    if real >= (1 - padding) * best[-1]:
      break
  chosen, end = [], len(limits)
  for before in reversed(choices):
    chosen.append(int(limits[end - 1]))
    end = int(before[end])
  return tuple(reversed(chosen))
