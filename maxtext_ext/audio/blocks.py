"""Sound files decoded block by block to mono samples at 16 kHz.

A generator holds a block of a file at a time, so memory does not grow with the recording.
"""

import contextlib
import io
import itertools
import math
import os
import shutil
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
from maxtext_ext.audio.limits import (
  MAX_SECONDS,
  MAX_SOURCE_RATE,
  MIN_SOURCE_RATE,
  SAMPLE_RATE,
  AudioError,
  TooLongError,
  max_values,
)
from maxtext_ext.audio.mixing import Mixer
from maxtext_ext.audio.views import View

BUFFER = 1 << 16  # bytes of the file read at once
_BLOCK = 1 << 20  # values read at once, so that a forged frame count allocates nothing
_MOST_COPIED = 64 << 20  # bytes of a file: an hour of MP3, 10 of Opus
_UNCOMPRESSED = (b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b".snd")
# Seconds that are decoded before a part. A frame of OGG leans on those before it; in MP3 libsndfile
# seeks by guess, thousands of samples off.
_WARM_UP = {"OGG": 1.0, "MP3": math.inf, "MPEG": math.inf}


def check_rate(rate: int) -> None:
  """Raises AudioError for a sampling rate that is not one of an audio recording."""
  if not MIN_SOURCE_RATE <= rate <= MAX_SOURCE_RATE:
    raise AudioError(
      f"sample rate is {rate} Hz, expected {MIN_SOURCE_RATE} to {MAX_SOURCE_RATE}; "
      "the header is broken or this is not speech"
    )


def check_length(seconds: float, max_seconds: float) -> None:
  """Raises TooLongError for a recording that is too long."""
  if seconds > max_seconds:
    raise TooLongError(
      f"audio is longer than {max_seconds:.0f} s; cut it into clips, or name a part of it by "
      "'offset' and 'duration' in JSONL"
    )


def describe_invalid(count: int, total: int, first: int) -> str:
  """Returns the reason why samples with NaN or infinity cannot be used."""
  return (
    f"audio has {count} NaN or infinite samples of {total}, the first at {first}; "
    "every sample has to be finite: convert the clip again from its original"
  )


def decode(
  file: io.BufferedReader,
  *,
  mixer: Mixer,
  joints: Sequence[int] = (),
  offset: float = 0.0,
  duration: float | None = None,
  max_seconds: float = MAX_SECONDS,
) -> Iterator[np.ndarray]:
  """Decodes a file, or several that were joined into one, each at its own rate.

  Args:
    file: seekable.
    mixer: makes one channel of several.
    joints: where the second file and those after it begin.
    offset: where to start, in seconds.
    duration: seconds to take; None: to the end.
    max_seconds: longest result.

  Yields:
    [T] float32 at SAMPLE_RATE, of any lengths.

  Raises:
    AudioError: not an audio file, cut short, longer than `max_seconds`, or with samples that are
      not finite; raised where the fault is met, for such samples at the end.
  """
  if not joints:
    yield from _decode(file, offset, duration, mixer, max_seconds)
    return
  end = file.seek(0, os.SEEK_END)
  skip = round(offset * SAMPLE_RATE)
  limit = None if duration is None else round(duration * SAMPLE_RATE)
  parts = (
    _decode(io.BufferedReader(View(file, first, last), BUFFER), 0.0, None, mixer, max_seconds)
    for first, last in itertools.pairwise((0, *joints, end))
  )
  blocks = itertools.chain.from_iterable(parts)
  yield from to_speech(_cut_blocks(blocks, skip, limit), SAMPLE_RATE, max_seconds)


def to_speech(
  blocks: Iterable[np.ndarray], rate: int, max_seconds: float = MAX_SECONDS
) -> Iterator[np.ndarray]:
  """Resamples mono blocks as they come: bit for bit what `soxr.resample` makes of the whole.

  Raises:
    AudioError: longer than `max_seconds`, or with samples that are not finite.
  """
  stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1) if rate != SAMPLE_RATE else None
  count = invalid = first_invalid = 0
  for block in blocks:
    # Before resampling, which would spread one NaN over its neighbours.
    broken = np.flatnonzero(~np.isfinite(block))
    if broken.size:
      first_invalid = first_invalid if invalid else count + int(broken[0])
      invalid += broken.size
    count += len(block)
    check_length(count / rate, max_seconds)
    if not invalid:  # the rest is only counted
      yield stream.resample_chunk(block) if stream else block
  if invalid:
    raise AudioError(describe_invalid(invalid, count, first_invalid))
  if stream:
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def _decode(
  file: io.BufferedReader,
  offset: float,
  duration: float | None,
  mixer: Mixer,
  max_seconds: float,
) -> Iterator[np.ndarray]:
  """Decodes a single file."""
  if damage := find_damage(file):
    raise AudioError(f"{damage}; copy it again")
  if patch := find_unknown_size(file):
    file = io.BufferedReader(View(file, patch=patch), BUFFER)
  part = (offset, duration, mixer, max_seconds)
  if name := find_undeclared(file):
    yield from _decode_by_ffmpeg(file, *part, formats=name)
    return
  with _copied(file) as readable:
    try:
      sound = _Sequential(readable, closefd=False)
    except soundfile.LibsndfileError as error:
      reason = error.error_string.strip()
    else:
      with sound:
        try:
          yield from _decode_by_libsndfile(sound, *part)
        except soundfile.SoundFileError as error:
          raise AudioError(
            f"cannot decode the whole {sound.format} file ({str(error).strip()}); copy it again"
          ) from error
      return
  yield from _decode_by_ffmpeg(file, *part, reason=f"libsndfile: {reason}; ")


@contextlib.contextmanager
def _copied(file: io.BufferedReader) -> Iterator[io.BufferedReader | int]:
  """Copies a compressed file into memory; gives its descriptor, or other files as they are.

  libsndfile reads an MP3 two kilobytes at a time. From a file of Python it takes the interpreter's
  lock for each of them, and threads that decode such files are no faster than one.
  """
  size = file.seek(0, os.SEEK_END)
  file.seek(0)
  is_compressed = file.read(4) not in _UNCOMPRESSED
  file.seek(0)
  if not (is_compressed and size <= _MOST_COPIED and hasattr(os, "memfd_create")):
    yield file
    return
  with open(os.memfd_create("sound"), "r+b") as copy:
    shutil.copyfileobj(file, copy, _BLOCK)
    copy.flush()
    copy.seek(0)
    yield copy.fileno()


class _Sequential(soundfile.SoundFile):
  """File whose `seekable` keeps soundfile from seeking.

  soundfile seeks after each read, to the position that it is at anyway. In an MP3 of a variable bit
  rate that position is a guess, and a second of sound was lost after each block.
  """

  def seekable(self) -> bool:
    """Asked by soundfile before it seeks."""
    return False


def _decode_by_libsndfile(
  sound: soundfile.SoundFile,
  offset: float,
  duration: float | None,
  mixer: Mixer,
  max_seconds: float,
) -> Iterator[np.ndarray]:
  rate = sound.samplerate
  check_rate(rate)
  mixer.check_channels(sound.channels)
  first = min(round(offset * rate), sound.frames)
  wanted = sound.frames - first
  if duration is not None:
    wanted = min(wanted, round(duration * rate))
  check_length(wanted / rate, max_seconds)
  if wanted * sound.channels > max_values(max_seconds):
    raise AudioError(
      f"audio has {sound.channels} channels at {rate} Hz, {wanted * sound.channels} values in all, "
      f"expected at most {max_values(max_seconds)}; downmix and resample it first"
    )
  if first:
    early = int(min(first, _WARM_UP.get(sound.format, 0.0) * rate))
    if early < first:
      sound.seek(first - early)
    for _ in _read_blocks(sound, early, Mixer()):
      pass
  yield from to_speech(_read_part(sound, first, wanted, mixer), rate, max_seconds)


def _read_part(
  sound: soundfile.SoundFile, first: int, wanted: int, mixer: Mixer
) -> Iterator[np.ndarray]:
  count = 0
  for block in _read_blocks(sound, wanted, mixer):
    count += len(block)
    yield block
  # The frame counts of FLAC and MP3 stand in their headers, those of the others are measured.
  if sound.format in ("FLAC", "MP3", "MPEG") and count < wanted:
    raise AudioError(
      f"{sound.format} file is cut short: {first + count} of {first + wanted} frames are there; "
      "copy it again"
    )


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
  max_seconds: float,
  *,
  formats: str | None = None,
  reason: str = "",
) -> Iterator[np.ndarray]:
  # Its libraries take a fifth of a second to load; few recordings need them.
  from maxtext_ext.audio import ffmpeg

  try:
    with ffmpeg.Recording(
      file, formats or ffmpeg.FORMATS, mixer, max_seconds=max_seconds
    ) as recording:
      rate = recording.rate
      check_rate(rate)
      limit = None if duration is None else round(duration * rate)
      blocks = _cut_blocks(recording.blocks(round(offset * rate)), 0, limit)
      yield from to_speech(blocks, rate, max_seconds)
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
