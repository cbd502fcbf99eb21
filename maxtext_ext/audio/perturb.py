"""Augmentation of the waveform on the host: speed, room, noise, gain, in this order.

Each is off by default and draws from a seed of its own, so turning one on or off changes no draw of
the others.
"""

import math

import numpy as np
import scipy.fft
import soxr

from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.audio.perturbation import Perturbation
from maxtext_ext.audio.sounds import load_noise, load_response

Seed = int | tuple[int, ...]  # not negative

_SPEED, _ROOM, _NOISE, _GAIN, _NOISE_CLIP = range(5)  # each draws from (its number, *seed)
_SPEED_QUALITY = "MQ"  # 16 bits; "HQ" sounds the same here and takes up to twice as long


def perturb(samples: np.ndarray, config: Perturbation, seed: Seed) -> np.ndarray:
  """Augments a clip; the result depends on the arguments (and the files) alone.

  - Speed: resampled; the clip's length changes, see `Perturbation.max_seconds`.
  - Room: convolved with an impulse response that is aligned by its largest sample, the direct
    sound; the clip keeps its length, timing and power.
  - Noise: a random part of a file (a short file is repeated), scaled to the drawn signal-to-noise
    ratio after the steps above. Silent clips get no noise, and silent parts of a file are not
    added: they have no such ratio.
  - Gain: a factor. Where the result of all this leaves [-1, 1], it is scaled down as a whole until
    its peak is at full scale: nothing clips, and the gain is that much lower than drawn.

  Args:
    samples: [T] float32, finite, T >= 1; not necessarily aligned.
    config: what may happen.
    seed: of this clip in this epoch.

  Returns:
    [T'] float32; `samples` itself, not a copy, when nothing happens.

  Raises:
    AudioError: a file of noise or of an impulse response cannot be read.
  """
  aligned = np.require(samples, requirements="A")  # sums of others are slow
  changed = _change_speed(aligned, config, _draws(_SPEED, seed))
  changed = _put_into_room(changed, config, _draws(_ROOM, seed))
  changed = _add_noise(changed, config, _draws(_NOISE, seed))
  changed = _change_gain(changed, config, _draws(_GAIN, seed))
  if changed is aligned:
    return samples
  peak = max(changed.max(), -changed.min())
  return changed / peak if peak > 1 else changed


def perturbed_length(length: int, config: Perturbation, seed: Seed) -> int:
  """Returns the samples that `perturb` makes of a clip of so many samples."""
  rate = _rate(length, config, _draws(_SPEED, seed))
  return math.floor(length * SAMPLE_RATE / rate + 0.5)  # as soxr rounds


def noise_clip(
  noises: tuple[str, ...], seconds_range: tuple[float, float], seed: Seed
) -> np.ndarray:
  """Returns a random part of one noise file at its own level: a clip without speech.

  Args:
    noises: files.
    seconds_range: the length is uniform in [low, high].
    seed: of the draws.

  Returns:
    [T] float32, at least one sample.

  Raises:
    ValueError: no files, or a range that is none.
    AudioError: the file cannot be read.
  """
  low, high = seconds_range
  if not noises or not 0 < low <= high < math.inf:
    raise ValueError(
      f"noise clips of [{low:g}, {high:g}] s from {len(noises)} files: expected at least one file "
      "(noise_dir) and 0 < low <= high (noise_only_seconds)"
    )
  rng = _draws(_NOISE_CLIP, seed)
  length = max(1, round(rng.uniform(low, high) * SAMPLE_RATE))
  path = noises[int(rng.integers(len(noises)))]
  return _part_of(load_noise(path), length, rng.random()).copy()


def _draws(stage: int, seed: Seed) -> np.random.Generator:
  return np.random.default_rng((stage, *((seed,) if isinstance(seed, int) else seed)))


def _change_speed(
  samples: np.ndarray, config: Perturbation, rng: np.random.Generator
) -> np.ndarray:
  rate = _rate(len(samples), config, rng)
  if rate == SAMPLE_RATE:
    return samples
  return soxr.resample(samples, rate, SAMPLE_RATE, quality=_SPEED_QUALITY)


def _rate(length: int, config: Perturbation, rng: np.random.Generator) -> int:
  """Draws the rate that a clip's samples are taken to have, which changes its speed."""
  factor = rng.uniform(*config.speed_range)
  rate = round(factor * SAMPLE_RATE)
  most = max(1, math.floor(config.max_seconds * SAMPLE_RATE))
  # A clip that is longer already is not slowed down, nor made to fit.
  return max(rate, min(SAMPLE_RATE, -(-length * SAMPLE_RATE // most)))


def _put_into_room(
  samples: np.ndarray, config: Perturbation, rng: np.random.Generator
) -> np.ndarray:
  if not rng.random() < config.rir_probability:
    return samples
  response = load_response(config.rirs[int(rng.integers(len(config.rirs)))])
  direct = int(np.abs(response).argmax())
  size = scipy.fft.next_fast_len(len(samples) + len(response) - 1, real=True)
  spectrum = scipy.fft.rfft(samples, size) * scipy.fft.rfft(response, size)
  wet = scipy.fft.irfft(spectrum, size)[direct : direct + len(samples)]
  power = _power(wet)
  return wet * np.float32(math.sqrt(_power(samples) / power)) if power else samples


def _add_noise(samples: np.ndarray, config: Perturbation, rng: np.random.Generator) -> np.ndarray:
  if not rng.random() < config.noise_probability:
    return samples
  path = config.noises[int(rng.integers(len(config.noises)))]
  ratio = 10 ** (rng.uniform(*config.noise_snr_db) / 10)
  noise = _part_of(load_noise(path), len(samples), rng.random())
  clip_power, noise_power = _power(samples), _power(noise)
  if not clip_power or not noise_power:
    return samples
  return samples + noise * np.float32(math.sqrt(clip_power / (noise_power * ratio)))


def _change_gain(samples: np.ndarray, config: Perturbation, rng: np.random.Generator) -> np.ndarray:
  decibels = rng.uniform(*config.gain_db)
  return samples * np.float32(10 ** (decibels / 20)) if decibels else samples


def _part_of(sound: np.ndarray, length: int, where: float) -> np.ndarray:
  """Cuts `length` samples of a sound, repeated if too short; `where` in [0, 1) is the start."""
  if len(sound) >= length:
    start = int(where * (len(sound) - length + 1))
    return sound[start : start + length]
  start = int(where * len(sound))
  return np.resize(np.roll(sound, -start), length)


def _power(samples: np.ndarray) -> float:
  """Computes the mean square; 0.0 also for what float32 cannot tell from silence."""
  return float(np.dot(samples, samples)) / len(samples)
