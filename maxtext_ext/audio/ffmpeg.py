"""Sound that libsndfile does not know (M4A, AAC, WebM, AMR, sound tracks of videos), by FFmpeg."""

import os
from collections.abc import Iterator

import av
import numpy as np

from maxtext_ext.audio.headers import SeekableFile
from maxtext_ext.audio.io import MAX_VALUES, AudioError, check_channel

# FLAC and MP3 are not among them: FFmpeg reads over damage that libsndfile reports. Nor are
# playlists, which would have it open other files.
FORMATS = (
  "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,aac,loas,amr,amrnb,amrwb,asf,avi,flv,mpeg,mpegts,"
  "ac3,eac3,wav,w64,aiff,au,caf,ogg,wv,ape,tta"
)
# Those that say how long they are; of the others FFmpeg guesses it from the bit rate.
_DECLARE_LENGTH = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "asf")
_LENGTH_SLACK = 0.5  # seconds; encoders pad, and round what they declare
_BLOCK = 1 << 16  # samples of a block; a frame has about a thousand
_SPARE_BYTES = 1 << 20


class FFmpegError(AudioError):
  """FFmpeg cannot read the file; the text says why."""


class Recording:
  """The first sound track of an open file; to be closed by its `with` block.

  Attributes:
    rate: samples a second.
  """

  def __init__(
    self, file: SeekableFile, formats: str = FORMATS, channel: int | None = None
  ) -> None:
    """Opens a seekable file.

    Args:
      file: it is not closed afterwards.
      formats: FFmpeg's names of those that it may be in.
      channel: the one to take; None: the mean of them.

    Raises:
      FFmpegError: FFmpeg does not know it either, or it has no sound.
    """
    self._channel = channel
    self._size = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
      self._container = av.open(file, options={"format_whitelist": formats})
    except av.FFmpegError as error:
      raise FFmpegError(error.strerror) from error
    if not self._container.streams.audio:
      self._container.close()
      raise FFmpegError("no sound track")
    self._stream = self._container.streams.audio[0]
    # There is none for an encoding that FFmpeg does not know, or that nobody does.
    if self._stream.codec_context is None:
      self._container.close()
      raise FFmpegError("unknown encoding of the sound")
    self.rate = self._stream.rate or 0

  def __enter__(self) -> "Recording":
    return self

  def __exit__(self, *_: object) -> None:
    self._container.close()

  def blocks(self) -> Iterator[np.ndarray]:
    """The samples in order, as float32 [T] of any lengths.

    Raises:
      FFmpegError: damaged, or shorter than it says.
    """
    parts: list[np.ndarray] = []
    waiting = total = 0
    for part in self._frames():
      parts.append(part)
      waiting += len(part)
      total += len(part)
      if waiting >= _BLOCK:
        yield np.concatenate(parts)
        parts, waiting = [], 0
    if parts:
      yield np.concatenate(parts)
    seconds, declared = total / self.rate, self._declared_seconds()
    if declared is not None and seconds < declared - _LENGTH_SLACK:
      raise FFmpegError(
        f"{self._container.format.name} file is cut short: {seconds:.1f} of {declared:.1f} s are "
        "there; copy it again"
      )

  def _frames(self) -> Iterator[np.ndarray]:
    resampler = av.AudioResampler(format="fltp")  # of the layout and rate of the first frame
    left = 2 * self._size + _SPARE_BYTES
    first = None
    values = 0
    try:
      for packet in self._container.demux(self._stream):
        left -= packet.size + 1
        if left < 0:  # an index may name the same bytes over and over
          raise FFmpegError(f"packets of a file of {self._size} bytes sum up to more than twice it")
        for frame in packet.decode():
          form = frame.sample_rate, frame.layout.nb_channels, frame.format.name
          if first is None:
            check_channel(self._channel, form[1])
          first = first or form
          if form[0] != self.rate or form != first:
            raise FFmpegError(f"the sound changes from {first} to {form}, rate {self.rate}")
          values += frame.samples * frame.layout.nb_channels
          if values > MAX_VALUES:
            raise FFmpegError(f"more than {MAX_VALUES} values; downmix and resample it first")
          for converted in resampler.resample(frame):
            samples = converted.to_ndarray()
            if self._channel is None:
              yield samples.mean(axis=0, dtype=np.float32)
            else:
              yield samples[self._channel]
    except av.FFmpegError as error:
      raise FFmpegError(f"damaged ({error.strerror})") from error

  def _declared_seconds(self) -> float | None:
    if self._container.format.name not in _DECLARE_LENGTH:
      return None
    if self._stream.duration is not None:
      return float(self._stream.duration * self._stream.time_base)
    # That of the file is the longest of its tracks'.
    if self._container.duration is not None and len(self._container.streams) == 1:
      return self._container.duration / av.time_base
    return None
