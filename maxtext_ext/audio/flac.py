"""Lossless FLAC coding of mono 16-bit samples: about half the bytes of the samples."""

import io

import numpy as np
import soundfile

from maxtext_ext.audio.limits import MAX_SECONDS, SAMPLE_RATE, AudioError

MAX_SAMPLES = int(MAX_SECONDS * SAMPLE_RATE)
_BLOCK = 1 << 20  # samples read at once, so that a forged length allocates nothing


def encode_flac(samples: np.ndarray) -> bytes:
  """Compresses samples without loss.

  Args:
    samples: [T] int16 mono at SAMPLE_RATE.

  Returns:
    A FLAC file.

  Raises:
    AudioError: no samples, or more than `decode_flac` accepts.
  """
  if not 0 < len(samples) <= MAX_SAMPLES:
    raise AudioError(
      f"audio has {len(samples)} samples, FLAC takes 1 to {MAX_SAMPLES} ({MAX_SECONDS:.0f} s); "
      "cut the clip or keep float32"
    )
  file = io.BytesIO()
  soundfile.write(file, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
  return file.getvalue()


def decode_flac(data: bytes) -> np.ndarray:
  """Decodes what `encode_flac` wrote.

  Returns:
    [T] int16.

  Raises:
    AudioError: not a complete FLAC file of 16 bits, one channel and SAMPLE_RATE.
  """
  try:
    with soundfile.SoundFile(io.BytesIO(data)) as file:
      form = (file.format, file.subtype, file.channels, file.samplerate)
      if form != ("FLAC", "PCM_16", 1, SAMPLE_RATE):
        raise AudioError(
          f"audio is {form[0]} {form[1]}, {form[2]} channels, {form[3]} Hz; "
          f"expected FLAC PCM_16, 1 channel, {SAMPLE_RATE} Hz"
        )
      if file.frames > MAX_SAMPLES:
        raise AudioError(f"FLAC claims {file.frames} samples, expected at most {MAX_SAMPLES}")
      declared, samples = file.frames, _read(file)
  except soundfile.SoundFileError as error:
    raise AudioError(f"{len(data)} bytes are no FLAC file ({str(error).strip()})") from error
  if len(samples) != declared:
    raise AudioError(f"FLAC is cut short: {len(samples)} of {declared} samples are there")
  return samples


def _read(file: soundfile.SoundFile) -> np.ndarray:
  blocks = [file.read(_BLOCK, dtype="int16")]
  while len(blocks[-1]) == _BLOCK:
    blocks.append(file.read(_BLOCK, dtype="int16"))
  return np.concatenate(blocks) if len(blocks) > 1 else blocks[0]
