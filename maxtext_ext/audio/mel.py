"""Log-mel spectrogram in JAX, computed from waveform chunks inside the jitted step.

Equals `transformers.WhisperFeatureExtractor`, with or without its padding to 30 s: 25 ms periodic
Hann, 10 ms hop, Slaney mel 0-8 kHz, log10 clamped at 1e-10, floor 8 below the clip's maximum,
(x + 4) / 4.
"""

import functools
import math

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Int16

from maxtext_ext.audio.geometry import HOP, N_FFT
from maxtext_ext.audio.limits import PCM16_SCALE, SAMPLE_RATE

MEL_FLOOR = 1e-10  # power below which everything is silence
DYNAMIC_RANGE = 8.0  # in log10 of power: 80 dB below the clip's maximum

SLANEY_LINEAR_HZ = 200.0 / 3.0  # Hz a mel, below the break
SLANEY_BREAK_HZ = 1_000.0
SLANEY_LOG_STEP = np.log(6.4) / 27.0  # above it, 27 mels multiply the frequency by 6.4


@functools.cache
def mel_filters(num_mel_bins: int) -> np.ndarray:
  """Computes Slaney's mel filter bank, 0-8 kHz, equal areas: float64 [201, num_mel_bins].

  Source: Slaney, Auditory Toolbox (1998), as librosa and Whisper use it.
  """
  break_mel = SLANEY_BREAK_HZ / SLANEY_LINEAR_HZ
  top_mel = break_mel + np.log(SAMPLE_RATE / 2 / SLANEY_BREAK_HZ) / SLANEY_LOG_STEP
  mels = np.linspace(0.0, top_mel, num_mel_bins + 2)
  above = SLANEY_BREAK_HZ * np.exp(SLANEY_LOG_STEP * (mels - break_mel))
  corners = np.where(mels < break_mel, mels * SLANEY_LINEAR_HZ, above)
  left, centre, right = corners[:-2], corners[1:-1], corners[2:]
  bins = np.linspace(0.0, SAMPLE_RATE / 2, N_FFT // 2 + 1)[:, None]
  rising = (bins - left) / (centre - left)
  falling = (right - bins) / (right - centre)
  filters = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (right - left))
  filters.flags.writeable = False  # the cached array is shared
  return filters


def _hann() -> np.ndarray:
  return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)


def dft_by_rfft(frames: Float[Array, "*N 400"]) -> tuple[Array, Array]:
  """Computes real and imaginary part, [*N, 201] each, of the DFT of Hann-windowed frames.

  Uses the fast Fourier transform, the faster form on a CPU.
  """
  spectrum = jnp.fft.rfft(frames * _hann().astype(np.float32))
  return spectrum.real, spectrum.imag


def dft_by_matmul(frames: Float[Array, "*N 400"]) -> tuple[Array, Array]:
  """Computes the same DFT (up to the sign of the imaginary part) by a matrix product.

  TPUs round float32 operands to bfloat16 by default, too coarse for 80 dB of dynamic range, so the
  product asks for full precision. Folding mirrored samples or summing in blocks rounds more.
  """
  angle = 2 * np.pi * np.outer(np.arange(N_FFT), np.arange(N_FFT // 2 + 1)) / N_FFT
  matrix = _hann()[:, None] * np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
  product = jnp.matmul(frames, matrix.astype(np.float32), precision=lax.Precision.HIGHEST)
  real, imag = jnp.split(product, 2, axis=-1)
  return real, imag


def power_spectrum(frames: Float[Array, "*N 400"]) -> Float[Array, "*N 201"]:
  """Computes the power of the Hann-windowed frames.

  A constant offset is subtracted and its exact transform added back: in a float32 sum, its rounding
  error would hide quiet speech.
  """
  offset = frames.mean(axis=-1, keepdims=True)
  real, imag = lax.platform_dependent(frames - offset, cpu=dft_by_rfft, default=dft_by_matmul)
  of_window = np.zeros(N_FFT // 2 + 1, np.float32)
  of_window[0], of_window[1] = N_FFT / 2, -N_FFT / 4
  return jnp.square(real + offset * of_window) + jnp.square(imag)


def _frame(chunks: Float[Array, "*N T"]) -> Float[Array, "*N F 400"]:
  """Cuts overlapping frames as strided slices of 80-sample pieces, without a gather."""
  piece = math.gcd(HOP, N_FFT)
  step, width = HOP // piece, N_FFT // piece
  pieces = chunks.reshape(*chunks.shape[:-1], -1, piece)
  stop = pieces.shape[-2] - width + 1  # where the last frame begins, exclusive
  return jnp.concatenate([pieces[..., i : i + stop : step, :] for i in range(width)], axis=-1)


def _log_power(samples: Array, num_mel_bins: int) -> Array:
  """Computes log10 of the mel power of chunks [..., T]: [..., F, num_mel_bins], at least -10."""
  if samples.dtype == jnp.int16:
    samples = samples.astype(jnp.float32) / PCM16_SCALE
  frames = _frame(samples.astype(jnp.float32))
  power = power_spectrum(frames)
  filters = mel_filters(num_mel_bins).astype(np.float32)
  mel = jnp.matmul(power, filters, precision=lax.Precision.HIGHEST)
  return jnp.log10(jnp.maximum(mel, MEL_FLOOR))


def log_mel(
  samples_BWCT: Float[Array, "B W C T"] | Int16[Array, "B W C T"],
  chunk_frames_BWC: Int[Array, "B W C"],
  chunk_segment_BWC: Int[Array, "B W C"],
  num_mel_bins: int,
  *,
  padded_windows: bool = False,
) -> Float[Array, "B W C F M"]:
  """Computes the normalised log-mel of every chunk; a clip's chunks share one maximum.

  Args:
    samples_BWCT: F hops a chunk, with the overlap that its frames look at (`Geometry.chunk_samples`
      for F = `Geometry.frames_per_chunk`); int16, or float in [-1, 1]. What lies beyond the real
      frames is ignored.
    chunk_frames_BWC: real frames in the chunk, 0..F; 0 for an empty place.
    chunk_segment_BWC: number of the clip within its row; equal numbers share a maximum, wherever
      in the row their chunks lie.
    num_mel_bins: M, 80 or 128 in the published models.
    padded_windows: whether the encoder's geometry has them: then a window's chunks share one
      maximum, and the log-mel of the silence behind a clip is kept.

  Returns:
    float32; without padded windows exactly 0.0 beyond the real frames, which is how such an encoder
    is padded.
  """
  # One window at a time: frames and spectra take 15 times the memory of int16 samples.
  log_WBCFM = lax.map(
    lambda samples_BCT: _log_power(samples_BCT, num_mel_bins), jnp.moveaxis(samples_BWCT, 1, 0)
  )
  log_BWCFM = jnp.moveaxis(log_WBCFM, 0, 1)
  if padded_windows:
    heard_BWC11 = chunk_segment_BWC[..., None, None] > 0
    log_BWCFM = jnp.where(heard_BWC11, log_BWCFM, jnp.log10(MEL_FLOOR))
    return _normalise(log_BWCFM, log_BWCFM.max(axis=(-3, -2, -1), keepdims=True))

  real_BWCF = jnp.arange(log_BWCFM.shape[-2]) < chunk_frames_BWC[..., None]
  log_BWCFM = jnp.where(real_BWCF[..., None], log_BWCFM, jnp.log10(MEL_FLOOR))

  rows = chunk_segment_BWC.shape[0]
  segment = chunk_segment_BWC.reshape(rows, -1)
  chunk_max = log_BWCFM.max(axis=(-2, -1)).reshape(rows, -1)
  same_clip = segment[:, :, None] == segment[:, None, :]
  clip_max = jnp.where(same_clip, chunk_max[:, None, :], -jnp.inf).max(axis=-1)
  clip_max_BWC11 = clip_max.reshape(chunk_segment_BWC.shape)[..., None, None]
  mel_BWCFM = _normalise(log_BWCFM, clip_max_BWC11)
  return jnp.where(real_BWCF[..., None], mel_BWCFM, 0.0)


def _normalise(log: Array, loudest: Array) -> Array:
  return (jnp.maximum(log, loudest - DYNAMIC_RANGE) + 4.0) / 4.0
