"""Bytes of an audio file to mono 16 kHz samples."""

import io
import struct

import numpy as np
import soundfile
import soxr

SAMPLE_RATE = 16_000  # Hz
MIN_SOURCE_RATE = (
  1_000  # Hz; below this there is no speech left, and resampling multiplies the memory
)
MAX_SOURCE_RATE = 768_000  # Hz
# The longest clip; Qwen3-ASR takes no longer one, and memory is bounded whatever a file unpacks to.
MAX_SECONDS = 1_200.0
_BLOCK = 1 << 20  # values read at once, so that a forged frame count allocates nothing
# A program that writes a WAV into a pipe cannot know its size: sox, libsndfile and others leave
# one of these, ffmpeg and its like a number just under 2**32.
_UNKNOWN_SIZES = (0, 0x7FFFF000, 0x7FFFFFFF)
_UNKNOWN_FROM = 0xFFFFFF00


class AudioError(ValueError):
  """The audio cannot be used; the text says why."""


def check_samples(samples: np.ndarray) -> None:
  """Raises AudioError for samples that are empty, all zero, NaN or infinite.

  Args:
    samples: [T] float or integer.
  """
  if samples.ndim != 1:
    raise AudioError(f"audio has shape {samples.shape}, expected one channel [T]; downmix it first")
  if not samples.size:
    raise AudioError("audio has 0 samples; remove the clip or record it again")
  if samples.dtype.kind == "f" and not np.isfinite(samples).all():
    bad = np.flatnonzero(~np.isfinite(samples))
    raise AudioError(
      f"audio has {bad.size} NaN or infinite samples of {samples.size}, the first at {bad[0]}; "
      "every sample has to be finite: convert the clip again from its original"
    )
  if not samples.any():
    raise AudioError(f"audio is silent: all {samples.size} samples are zero; remove the clip")


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
  if not MIN_SOURCE_RATE <= rate <= MAX_SOURCE_RATE:
    raise AudioError(
      f"sample rate is {rate} Hz, expected {MIN_SOURCE_RATE} to {MAX_SOURCE_RATE}; "
      "the header is broken or this is not speech"
    )
  if rate == SAMPLE_RATE:
    return samples
  return soxr.resample(samples, rate, SAMPLE_RATE).astype(np.float32, copy=False)


def decode_audio(data: bytes) -> np.ndarray:
  """Decodes WAV, FLAC, MP3, OGG (Vorbis, Opus) or anything else that libsndfile knows.

  Channels are averaged and the rate is brought to SAMPLE_RATE.

  Args:
    data: the whole file.

  Returns:
    [T] float32, full scale is [-1, 1].

  Raises:
    AudioError: not an audio file, cut short, or its samples fail `check_samples`.
  """
  if data[:4] == b"RIFF":
    _check_wav(data)
  elif data[:4] == b"OggS":
    _check_ogg(data)
  try:
    with soundfile.SoundFile(io.BytesIO(data)) as file:
      rate, declared, kind = file.samplerate, file.frames, file.format
      samples = _read_mono(file)
  except soundfile.SoundFileError as error:
    raise AudioError(
      f"cannot decode {len(data)} bytes as audio ({str(error).strip()}); "
      "expected a whole WAV, FLAC, MP3 or OGG file"
    ) from error
  # The frame counts of FLAC and MP3 stand in their headers, those of the others are measured.
  if kind in ("FLAC", "MP3", "MPEG") and samples.size < declared:
    raise AudioError(
      f"{kind} file is cut short: {samples.size} of {declared} frames are there; copy it again"
    )
  # Before resampling, which would spread one NaN over its neighbours.
  check_samples(samples)
  samples = resample(samples, rate)
  check_samples(samples)
  return samples


def load_audio(path: str) -> np.ndarray:
  """Reads and decodes one audio file, see `decode_audio`; the errors name the file."""
  try:
    with open(path, "rb") as file:
      data = file.read()
  except FileNotFoundError as error:
    raise AudioError(f"{path}: audio file not found; check the path") from error
  except (OSError, ValueError) as error:  # ValueError: a null byte in the path
    raise AudioError(f"{path!r}: cannot read the audio file ({error})") from error
  try:
    return decode_audio(data)
  except AudioError as error:
    raise AudioError(f"{path}: {error}") from error


def _read_mono(file: soundfile.SoundFile) -> np.ndarray:
  frames = max(1, _BLOCK // file.channels)
  blocks = []
  while True:
    block = file.read(frames, dtype="float32", always_2d=True)
    if not len(block):
      break
    blocks.append(block[:, 0] if file.channels == 1 else block.mean(axis=1, dtype=np.float32))
  return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def _check_wav(data: bytes) -> None:
  """libsndfile reads what is left of a truncated WAV without a word, so we look ourselves."""
  position = 12
  while position + 8 <= len(data):
    name, size = struct.unpack_from("<4sI", data, position)
    position += 8
    if name == b"data":
      known = size not in _UNKNOWN_SIZES and size < _UNKNOWN_FROM
      if known and position + size > len(data):
        raise AudioError(
          f"WAV file is cut short: its data chunk has {len(data) - position} of {size} bytes; "
          "copy it again"
        )
      return
    position += size + size % 2
  raise AudioError(f"WAV file is cut short: no data chunk in its {len(data)} bytes; copy it again")


def _check_ogg(data: bytes) -> None:
  """The last Ogg page has to be whole (libsndfile drops a cut one without a word)."""
  page = data.rfind(b"OggS")
  table = page + 27
  segments = data[page + 26] if page + 26 < len(data) else 0
  end = table + segments + sum(data[table : table + segments])
  if table + segments > len(data) or end > len(data):
    raise AudioError(
      f"OGG file is cut short: its last page ends at byte {max(end, table)} of {len(data)}; "
      "copy it again"
    )
