"""Sound files to mono 16 kHz samples."""

import decimal
import io
import itertools
import math
import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import soundfile
import soxr

from maxtext_ext.audio.integrity import (
  SeekableFile,
  find_damage,
  find_undeclared,
  find_unknown_size,
)
from maxtext_ext.audio.joined import find_joints
from maxtext_ext.audio.limits import (
  LOUDEST,
  MAX_PEAK,
  MAX_SECONDS,
  MAX_SOURCE_RATE,
  MAX_VALUES,
  MIN_SOURCE_RATE,
  SAMPLE_RATE,
  AudioError,
)
from maxtext_ext.audio.mixing import Mixer, peak_of
from maxtext_ext.audio.views import View
from maxtext_ext.files import storage

_BLOCK = 1 << 20  # values read at once, so that a forged frame count allocates nothing
_BUFFER = 1 << 16  # bytes of the file read at once
# Seconds that are decoded before a part. A frame of OGG leans on those before it; in MP3 libsndfile
# seeks by guess, thousands of samples off.
_WARM_UP = {"OGG": 1.0, "MP3": math.inf, "MPEG": math.inf}
# How far a segment may end behind its file, as manifests round: a share of it, up to some seconds.
_SEGMENT_SLACK = 0.2
_MAX_SLACK = 0.5


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
    raise AudioError(_describe_invalid(bad.size, samples.size, int(bad[0])))
  if peak > MAX_PEAK:
    raise AudioError(
      f"audio has a peak of {peak:g}, expected at most 1 (up to {MAX_PEAK:g} is let through); "
      "scale it to [-1, 1]"
    )
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
  _check_rate(rate)
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
  _check_rate(rate)
  scale = 32_768 if samples.dtype == np.int16 else 1
  converted = _to_speech([samples.astype(np.float32) / scale], rate)[1]
  check_samples(converted)
  return converted


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
  try:
    with storage.open_read(path) as file:
      return read_audio(file, offset=offset, duration=duration)
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
  if not (math.isfinite(offset) and offset >= 0) or not (duration is None or duration > 0):
    raise AudioError(
      f"segment starts at {offset} s and takes {duration} s; expected 0 or more, and more than 0"
    )
  mixer = Mixer(channel)
  view = View(file)
  limit = duration if declared is None else declared + _last_digit(declared)
  try:
    samples = _decode_all(io.BufferedReader(view, _BUFFER), offset, limit, mixer)
  finally:
    if view.error:
      raise view.error
  if declared is not None and limit is not None and len(samples) >= round(limit * SAMPLE_RATE):
    samples = samples[: round(declared * SAMPLE_RATE)]
  if _is_short(samples, duration) or (offset and not len(samples)):
    length = "" if duration is None else f" and takes {duration} s"
    raise AudioError(
      f"segment starts at {offset:.2f} s{length}, but the audio ends "
      f"{len(samples) / SAMPLE_RATE:.2f} s behind its start; correct the manifest"
    )
  mixer.check()
  check_samples(samples)
  return samples


def _last_digit(seconds: float) -> float:
  """Returns the most that rounding may have left out: 0.1 of 2.5, 1 of 16."""
  exponent = decimal.Decimal(repr(seconds)).normalize().as_tuple().exponent
  return 10.0 ** min(0, int(exponent))


def _is_short(samples: np.ndarray, duration: float | None) -> bool:
  """Returns whether a segment ends so far behind the file's end that sound is missing."""
  if duration is None:
    return False
  return len(samples) / SAMPLE_RATE < duration - min(_SEGMENT_SLACK * duration, _MAX_SLACK)


def _check_rate(rate: int) -> None:
  if not MIN_SOURCE_RATE <= rate <= MAX_SOURCE_RATE:
    raise AudioError(
      f"sample rate is {rate} Hz, expected {MIN_SOURCE_RATE} to {MAX_SOURCE_RATE}; "
      "the header is broken or this is not speech"
    )


def _decode_all(
  file: io.BufferedReader, offset: float, duration: float | None, mixer: Mixer
) -> np.ndarray:
  """Decodes a file, or several that were joined into one."""
  # A part is looked for in the first of them: to search for others takes as long as to read all.
  if duration is None and (joints := _find_joints(file)):
    return _decode_joined(file, joints, offset, duration, mixer)
  samples = _decode(file, offset, duration, mixer)
  if _is_short(samples, duration) and (joints := _find_joints(file)):
    return _decode_joined(file, joints, offset, duration, mixer)
  return samples


def _find_joints(file: io.BufferedReader) -> list[int]:
  try:
    return find_joints(file)
  except ValueError as error:
    raise AudioError(str(error)) from error


def _decode_joined(
  file: io.BufferedReader,
  joints: Sequence[int],
  offset: float,
  duration: float | None,
  mixer: Mixer,
) -> np.ndarray:
  """Decodes joined files in order, each at its own rate, and keeps the requested part."""
  end = file.seek(0, os.SEEK_END)
  skip = round(offset * SAMPLE_RATE)
  limit = None if duration is None else round(duration * SAMPLE_RATE)
  pieces = (
    _decode(io.BufferedReader(View(file, first, last), _BUFFER), 0.0, None, mixer)
    for first, last in itertools.pairwise((0, *joints, end))
  )
  return _to_speech(_cut_blocks(pieces, skip, limit), SAMPLE_RATE)[1]


def _decode(
  file: io.BufferedReader, offset: float, duration: float | None, mixer: Mixer
) -> np.ndarray:
  """Decodes a single file."""
  if damage := find_damage(file):
    raise AudioError(f"{damage}; copy it again")
  if patch := find_unknown_size(file):
    file = io.BufferedReader(View(file, patch=patch), _BUFFER)
  if name := find_undeclared(file):
    return _decode_by_ffmpeg(file, offset, duration, mixer, formats=name)
  try:
    sound = _Sequential(file)
  except soundfile.SoundFileError as error:
    reason = str(error).rpartition(">: ")[2].strip()
    return _decode_by_ffmpeg(file, offset, duration, mixer, reason=f"libsndfile: {reason}; ")
  with sound:
    try:
      return _decode_by_libsndfile(sound, offset, duration, mixer)
    except soundfile.SoundFileError as error:
      raise AudioError(
        f"cannot decode the whole {sound.format} file ({str(error).strip()}); copy it again"
      ) from error


class _Sequential(soundfile.SoundFile):
  """File whose `seekable` keeps soundfile from seeking.

  soundfile seeks after each read, to the position that it is at anyway. In an MP3 of a variable bit
  rate that position is a guess, and a second of sound was lost after each block.
  """

  def seekable(self) -> bool:
    """Asked by soundfile before it seeks."""
    return False


def _decode_by_libsndfile(
  sound: soundfile.SoundFile, offset: float, duration: float | None, mixer: Mixer
) -> np.ndarray:
  rate = sound.samplerate
  _check_rate(rate)
  mixer.check_channels(sound.channels)
  first = min(round(offset * rate), sound.frames)
  wanted = sound.frames - first
  if duration is not None:
    wanted = min(wanted, round(duration * rate))
  _check_length(wanted / rate)
  if wanted * sound.channels > MAX_VALUES:
    raise AudioError(
      f"audio has {sound.channels} channels at {rate} Hz, {wanted * sound.channels} values in all, "
      f"expected at most {MAX_VALUES}; downmix and resample it first"
    )
  if first:
    early = int(min(first, _WARM_UP.get(sound.format, 0.0) * rate))
    if early < first:
      sound.seek(first - early)
    for _ in _read_blocks(sound, early, Mixer()):
      pass
  count, samples = _to_speech(_read_blocks(sound, wanted, mixer), rate)
  # The frame counts of FLAC and MP3 stand in their headers, those of the others are measured.
  if sound.format in ("FLAC", "MP3", "MPEG") and count < wanted:
    raise AudioError(
      f"{sound.format} file is cut short: {first + count} of {first + wanted} frames are there; "
      "copy it again"
    )
  return samples


def _read_blocks(sound: soundfile.SoundFile, wanted: int, mixer: Mixer) -> Iterator[np.ndarray]:
  while wanted:
    frames = min(wanted, max(1, _BLOCK // sound.channels))
    block = sound.read(frames, dtype="float32", always_2d=True)
    if not len(block):
      return
    wanted -= len(block)
    yield mixer.mix(block)


def _decode_by_ffmpeg(
  file: SeekableFile,
  offset: float,
  duration: float | None,
  mixer: Mixer,
  *,
  formats: str | None = None,
  reason: str = "",
) -> np.ndarray:
  # Its libraries take a fifth of a second to load; few recordings need them.
  from maxtext_ext.audio import ffmpeg

  try:
    with ffmpeg.Recording(file, formats or ffmpeg.FORMATS, mixer) as recording:
      rate = recording.rate
      _check_rate(rate)
      limit = None if duration is None else round(duration * rate)
      blocks = _cut_blocks(recording.blocks(round(offset * rate)), 0, limit)
      return _to_speech(blocks, rate)[1]
  except ffmpeg.FFmpegError as error:
    size = file.seek(0, os.SEEK_END)
    raise AudioError(
      f"cannot decode {size} bytes as audio ({reason}FFmpeg: {error}); "
      "expected a whole sound file such as WAV, FLAC, MP3, OGG or M4A"
    ) from error


def _cut_blocks(blocks: Iterable[np.ndarray], skip: int, limit: int | None) -> Iterator[np.ndarray]:
  """Leaves out the first samples and ends after `limit` more."""
  for block in blocks:
    part = block[skip:][:limit]
    skip = max(0, skip - len(block))
    if len(part):
      yield part
    if limit is not None:
      limit -= len(part)
      if not limit:
        return


def _to_speech(blocks: Iterable[np.ndarray], rate: int) -> tuple[int, np.ndarray]:
  """Resamples mono blocks as they come, so that only the result is held.

  Returns:
    Number of samples at the old rate, and [T] float32 at SAMPLE_RATE.
  """
  # Bit for bit what `resample` makes of the whole.
  stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1) if rate != SAMPLE_RATE else None
  parts: list[np.ndarray] = []
  count = invalid = first_invalid = 0
  for block in blocks:
    # Before resampling, which would spread one NaN over its neighbours.
    broken = np.flatnonzero(~np.isfinite(block))
    if broken.size:
      first_invalid = first_invalid if invalid else count + int(broken[0])
      invalid += broken.size
    count += len(block)
    _check_length(count / rate)
    parts.append(stream.resample_chunk(block) if stream else block)
  if invalid:
    raise AudioError(_describe_invalid(invalid, count, first_invalid))
  if stream:
    parts.append(stream.resample_chunk(np.zeros(0, np.float32), last=True))
  if len(parts) == 1:
    return count, parts[0]
  return count, np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _check_length(seconds: float) -> None:
  if seconds > MAX_SECONDS:
    raise AudioError(
      f"audio is longer than {MAX_SECONDS:.0f} s; cut it into clips, or name a part of it by "
      "'offset' and 'duration' in JSONL"
    )


def _describe_invalid(count: int, total: int, first: int) -> str:
  return (
    f"audio has {count} NaN or infinite samples of {total}, the first at {first}; "
    "every sample has to be finite: convert the clip again from its original"
  )
