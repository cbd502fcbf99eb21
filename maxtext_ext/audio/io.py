"""Sound files to mono 16 kHz samples."""

import contextlib
import io
import math
from collections.abc import Iterator

import numpy as np
import soxr

from maxtext_ext.audio import blocks
from maxtext_ext.audio.integrity import SeekableFile
from maxtext_ext.audio.joined import find_joints
from maxtext_ext.audio.limits import (
  LOUDEST,
  MAX_LONG_SECONDS,
  MAX_PEAK,
  PCM16_SCALE,
  SAMPLE_RATE,
  AudioError,
)
from maxtext_ext.audio.mixing import Mixer, peak_of
from maxtext_ext.audio.segment import check_end, check_part, decoded_seconds, is_short
from maxtext_ext.audio.views import View
from maxtext_ext.files import storage

_BLOCK = 1 << 20  # samples converted at once


def check_samples(samples: np.ndarray) -> None:
  """Raises AudioError for samples that are empty, all zero, NaN, infinite or out of scale.

  Args:
    samples: [T] float or integer.
  """
  if samples.ndim != 1:
    raise AudioError(f"audio has shape {samples.shape}, expected one channel [T]; downmix it first")
  if not samples.size:
    raise AudioError("audio has 0 samples; remove the clip or record it again")
  if samples.dtype.kind != "f":
    peak = float(samples.any())
  elif not math.isfinite(peak := peak_of(samples)):
    bad = np.flatnonzero(~np.isfinite(samples))
    raise AudioError(blocks.describe_invalid(bad.size, samples.size, int(bad[0])))
  _check_peak(peak)
  if not peak:
    raise AudioError(f"audio is silent: all {samples.size} samples are zero; remove the clip")


def is_finite(samples: np.ndarray) -> bool:
  """Returns whether the log-mel of stored samples is finite."""
  return samples.dtype.kind != "f" or peak_of(samples) <= LOUDEST  # also false for NaN


def resample(samples: np.ndarray, rate: int) -> np.ndarray:
  """Brings samples of any usual rate to SAMPLE_RATE.

  Args:
    samples: [T] float32.
    rate: its sampling rate in Hz.

  Returns:
    [T * SAMPLE_RATE / rate] float32.

  Raises:
    AudioError: the rate is not one of an audio recording.
  """
  blocks.check_rate(rate)
  if rate == SAMPLE_RATE:
    return samples
  return soxr.resample(samples, rate, SAMPLE_RATE).astype(np.float32, copy=False)


def convert_samples(samples: np.ndarray, rate: int) -> np.ndarray:
  """Converts decoded samples to what `read_audio` returns.

  Args:
    samples: [T] mono, floats of full scale 1 or int16.
    rate: in Hz.

  Returns:
    [T'] float32 at SAMPLE_RATE.

  Raises:
    AudioError: of another shape or type, at a strange rate, over MAX_SECONDS, or they fail
      `check_samples`.
  """
  if samples.ndim != 1 or not (samples.dtype.kind == "f" or samples.dtype == np.int16):
    raise AudioError(
      f"audio is {samples.dtype}{list(samples.shape)}, expected mono floats or int16 [T]"
    )
  blocks.check_rate(rate)
  scale = 32_768 if samples.dtype == np.int16 else 1
  converted = _joined(blocks.to_speech([samples.astype(np.float32) / scale], rate))
  check_samples(converted)
  return converted


def convert_blocks(
  samples: np.ndarray, rate: int, *, max_seconds: float = MAX_LONG_SECONDS
) -> Iterator[np.ndarray]:
  """Converts decoded samples as `convert_samples` does, block by block. Silence is not refused.

  Args:
    samples: [T] mono, floats of full scale 1 or int16.
    rate: in Hz.
    max_seconds: longest recording.

  Yields:
    [T'] float32 at SAMPLE_RATE, of any lengths.

  Raises:
    AudioError: of another shape, at a strange rate, empty, too long, not finite or out of scale.
  """
  if samples.ndim != 1 or not samples.size:
    check_samples(samples)
  blocks.check_rate(rate)
  blocks.check_length(len(samples) / rate, max_seconds)
  scale = np.float32(PCM16_SCALE if samples.dtype == np.int16 else 1)
  parts = (
    samples[first : first + _BLOCK].astype(np.float32) / scale
    for first in range(0, len(samples), _BLOCK)
  )
  for block in blocks.to_speech(parts, rate, max_seconds):
    _check_peak(peak_of(block))
    yield block


def decode_audio(
  data: bytes,
  *,
  offset: float = 0.0,
  duration: float | None = None,
  declared: float | None = None,
  channel: int | None = None,
) -> np.ndarray:
  """Decodes a file in memory, see `read_audio`."""
  file = io.BytesIO(data)
  return read_audio(file, offset=offset, duration=duration, declared=declared, channel=channel)


def load_audio(path: str, *, offset: float = 0.0, duration: float | None = None) -> np.ndarray:
  """Decodes a file at a path or a URL, see `read_audio`; the errors name it."""
  with _naming(path), storage.open_read(path) as file:
    return read_audio(file, offset=offset, duration=duration)


def load_blocks(path: str, *, max_seconds: float = MAX_LONG_SECONDS) -> Iterator[np.ndarray]:
  """Decodes a file at a path or a URL block by block, see `read_blocks`; the errors name it."""
  with _naming(path), storage.open_read(path) as file:
    yield from read_blocks(file, max_seconds=max_seconds)


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
  try:
    yield
  except FileNotFoundError as error:
    raise AudioError(f"{path}: audio file not found; check the path") from error
  except AudioError as error:
    raise AudioError(f"{path}: {error}") from error
  except (OSError, ValueError) as error:  # ValueError: a null byte in the path
    raise AudioError(f"{path!r}: cannot read the audio file ({error})") from error


def read_audio(
  file: SeekableFile,
  *,
  offset: float = 0.0,
  duration: float | None = None,
  declared: float | None = None,
  channel: int | None = None,
) -> np.ndarray:
  """Decodes WAV, FLAC, MP3, OGG (Vorbis, Opus) or what else libsndfile knows, the rest by FFmpeg.

  Channels are averaged and the rate is brought to SAMPLE_RATE. Memory is that of the result, not of
  the file.

  Args:
    file: seekable.
    offset: where to start, in seconds.
    duration: seconds to take; None: to the end.
    declared: instead of these two, the length that a manifest gives for the file; of one that is
      longer than rounding explains, the rest is left out.
    channel: the one to take, from 0; None: the mean of them.

  Returns:
    [T] float32, full scale is [-1, 1].

  Raises:
    AudioError: not an audio file, cut short, over MAX_SECONDS, without that segment, or its samples
      fail `check_samples`.
    OSError: the file cannot be read.
  """
  check_part(offset, duration)
  mixer = Mixer(channel)
  view = View(file)
  limit = decoded_seconds(duration, declared)
  try:
    samples = _decode_all(io.BufferedReader(view, blocks.BUFFER), offset, limit, mixer)
  finally:
    if view.error:
      raise view.error
  if declared is not None and limit is not None and len(samples) >= round(limit * SAMPLE_RATE):
    samples = samples[: round(declared * SAMPLE_RATE)]
  check_end(len(samples), offset, duration)
  mixer.check()
  check_samples(samples)
  return samples


def read_blocks(
  file: SeekableFile,
  *,
  offset: float = 0.0,
  duration: float | None = None,
  declared: float | None = None,
  channel: int | None = None,
  max_seconds: float = MAX_LONG_SECONDS,
) -> Iterator[np.ndarray]:
  """Decodes a file as `read_audio` does, block by block in bounded memory.

  Args:
    file: seekable.
    offset, duration, declared, channel: as `read_audio` takes them; what rounding explains of a
      file that is longer than declared is kept.
    max_seconds: longest recording.

  Yields:
    [T] float32, of any lengths. Silence is not refused.

  Raises:
    AudioError: as `read_audio`, where the fault is met: what is before it has been yielded.
    OSError: the file cannot be read.
  """
  check_part(offset, duration)
  mixer = Mixer(channel)
  view = View(file)
  reader: io.BufferedReader = io.BufferedReader(view, blocks.BUFFER)
  total = 0
  try:
    for block in blocks.decode(
      reader,
      joints=_find_joints(reader),
      mixer=mixer,
      offset=offset,
      duration=decoded_seconds(duration, declared),
      max_seconds=max_seconds,
    ):
      _check_peak(peak_of(block))
      total += len(block)
      if len(block):
        yield block
  finally:
    if view.error:
      raise view.error
  check_end(total, offset, duration)
  mixer.check()
  if not total:
    check_samples(np.zeros(0, np.float32))


def _check_peak(peak: float) -> None:
  if peak > MAX_PEAK:
    raise AudioError(
      f"audio has a peak of {peak:g}, expected at most 1 (up to {MAX_PEAK:g} is let through); "
      "scale it to [-1, 1]"
    )


def _decode_all(
  file: io.BufferedReader, offset: float, duration: float | None, mixer: Mixer
) -> np.ndarray:
  """Decodes a file, or several that were joined into one."""
  # A part is looked for in the first of them: to search for others takes as long as to read all.
  joints = _find_joints(file) if duration is None else []
  samples = _decode(file, joints, offset, duration, mixer)
  if is_short(len(samples), duration) and (joints := _find_joints(file)):
    return _decode(file, joints, offset, duration, mixer)
  return samples


def _decode(
  file: io.BufferedReader,
  joints: list[int],
  offset: float,
  duration: float | None,
  mixer: Mixer,
) -> np.ndarray:
  return _joined(blocks.decode(file, joints=joints, offset=offset, duration=duration, mixer=mixer))


def _find_joints(file: io.BufferedReader) -> list[int]:
  try:
    return find_joints(file)
  except ValueError as error:
    raise AudioError(str(error)) from error


def _joined(parts: Iterator[np.ndarray]) -> np.ndarray:
  """Concatenates blocks; of a single one without a copy."""
  found = list(parts)
  if len(found) == 1:
    return found[0]
  return np.concatenate(found) if found else np.zeros(0, np.float32)
