"""FFmpeg decoding of formats that libsndfile lacks: M4A, AAC, WebM, AMR, tracks of videos."""

import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np

from maxtext_ext.audio.integrity import SeekableFile
from maxtext_ext.audio.limits import MAX_SECONDS, AudioError, max_values
from maxtext_ext.audio.mixing import Mixer

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
# Those with an index and true times: of the others FFmpeg guesses where to go.
_CAN_SEEK = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
# Of these every frame has as many samples as the next, so that a time in ms tells which one it is.
_EVEN_FRAMES = ("aac", "mp2", "mp3", "opus", "ac3", "eac3")
_SEEK_FROM = 30.0  # seconds; to here it decodes as fast
_WARM_UP = 1.0  # seconds that a decoder starts before the part, as it leans on what it had before
_MAX_SKIPPED = 24 * 3600.0  # seconds decoded and discarded, where it cannot seek


class FFmpegError(AudioError):
  """FFmpeg cannot read the file; the text says why."""


class Recording:
  """The first sound track of an open file; to be closed by its `with` block.

  Attributes:
    rate: samples a second.
  """

  def __init__(
    self,
    file: SeekableFile,
    formats: str = FORMATS,
    mixer: Mixer | None = None,
    *,
    max_seconds: float = MAX_SECONDS,
  ) -> None:
    """Opens a seekable file.

    Args:
      file: it is not closed afterwards.
      formats: FFmpeg's names of those that it may be in.
      mixer: makes one channel of several.
      max_seconds: longest recording, which bounds the values that are decoded.

    Raises:
      FFmpegError: FFmpeg cannot read the format, or the file has no sound.
    """
    self._file, self._formats = file, formats
    self._mixer = mixer or Mixer()
    self._max_values = max_values(max_seconds)
    self._open()

  def _open(self) -> None:
    file, formats = self._file, self._formats
    self._size = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
      self._container = av.open(file, mode="r", options={"format_whitelist": formats})
    except av.FFmpegError as error:
      raise FFmpegError(error.strerror) from error
    if not self._container.streams.audio:
      self._container.close()
      raise FFmpegError("no sound track")
    self._stream = self._container.streams.audio[0]
    # There is none for an encoding that FFmpeg does not know.
    if self._stream.codec_context is None:
      self._container.close()
      raise FFmpegError("unknown encoding of the sound")
    self.rate = self._stream.rate or 0

  def __enter__(self) -> "Recording":
    return self

  def __exit__(self, *_: object) -> None:
    self._container.close()

  def blocks(self, start: int = 0) -> Iterator[np.ndarray]:
    """Yields the samples in order, as float32 [T] of any lengths.

    Args:
      start: the first one; far into a file that has an index it is looked up, without decoding
        what is before it, and is the same sample.

    Raises:
      FFmpegError: damaged, or shorter than it says.
    """
    parts: list[np.ndarray] = []
    waiting = 0
    total = start
    for part in self._frames(start):
      parts.append(part)
      waiting += len(part)
      total += len(part)
      if waiting >= _BLOCK:
        yield np.concatenate(parts)
        parts, waiting = [], 0
    if parts:
      yield np.concatenate(parts)
    seconds, declared = total / self.rate, self._declared_seconds()
    if (total > start or not start) and declared is not None and seconds < declared - _LENGTH_SLACK:
      raise FFmpegError(
        f"{self._container.format.name} file is cut short: {seconds:.1f} of {declared:.1f} s are "
        "there; copy it again"
      )

  def _frames(self, start: int) -> Iterator[np.ndarray]:
    """Yields the samples of each frame from `start` on, mixed."""
    resampler = av.AudioResampler(format="fltp")  # of the layout and rate of the first frame
    first = None
    values = 0
    try:
      for position, frame in self._decoded_from(start):
        form = frame.sample_rate, frame.layout.nb_channels, frame.format.name
        if first is None:
          self._mixer.check_channels(form[1])
        first = first or form
        if form[0] != self.rate or form != first:
          raise FFmpegError(f"the sound changes from {first} to {form}, rate {self.rate}")
        if position + frame.samples <= start:
          if position > _MAX_SKIPPED * self.rate:
            raise FFmpegError(f"the part begins over {_MAX_SKIPPED / 3600:.0f} h behind the start")
          continue
        values += frame.samples * frame.layout.nb_channels
        if values > self._max_values:
          raise FFmpegError(f"more than {self._max_values} values; downmix and resample it first")
        for converted in resampler.resample(frame):
          yield self._mixer.mix(converted.to_ndarray().T[max(0, start - position) :])
    except av.FFmpegError as error:
      raise FFmpegError(f"damaged ({error.strerror})") from error

  def _decoded_from(self, start: int) -> Iterator[tuple[int, av.AudioFrame]]:
    """Yields frames with the number of their first sample, some of them before `start`."""
    if start > _SEEK_FROM * self.rate and self._container.format.name in _CAN_SEEK:
      found = self._seek(start)
      if found is not None:
        yield from found
        return
      self._container.close()  # as if nothing had been read
      self._open()
    yield from _numbered(self._decoded(), 0)

  def _seek(self, start: int) -> Iterator[tuple[int, av.AudioFrame]] | None:
    """Seeks by the index of the file; None where a time does not determine the sample."""
    origin = list(itertools.islice(self._decoded(), 2))
    if len(origin) < 2 or origin[0].pts is None or origin[1].pts is None:
      return None
    tick = Fraction(origin[0].time_base.numerator, origin[0].time_base.denominator)
    is_exact = tick * self.rate <= 1
    if not is_exact and self._stream.codec_context.name not in _EVEN_FRAMES:
      return None
    grid = _Grid(
      origin=origin[0].pts * tick * self.rate,
      first=origin[0].samples,
      size=origin[1].samples,
      step=tick * self.rate,
    )
    time = origin[0].pts * tick + (start / self.rate - _WARM_UP)
    try:
      self._container.seek(int(time / self._stream.time_base), stream=self._stream)
    except av.FFmpegError:
      return None
    frames = self._decoded()
    frame = next(frames, None)
    if frame is None or frame.pts is None or not (is_exact or frame.samples == grid.size):
      return None
    position = grid.position(frame.pts * frame.time_base * self.rate)
    if position is None or position > start - _WARM_UP / 2 * self.rate:
      return None
    return _numbered(itertools.chain([frame], frames), position)

  def _decoded(self) -> Iterator[av.AudioFrame]:
    left = 2 * self._size + _SPARE_BYTES
    for packet in self._container.demux(self._stream):
      left -= packet.size + 1
      if left < 0:  # an index may name the same bytes over and over
        raise FFmpegError(f"packets of a file of {self._size} bytes sum up to more than twice it")
      yield from packet.decode()

  def _declared_seconds(self) -> float | None:
    if self._container.format.name not in _DECLARE_LENGTH:
      return None
    if self._stream.duration is not None:
      return float(self._stream.duration * self._stream.time_base)
    # That of the file is the longest of its tracks'.
    if self._container.duration is not None and len(self._container.streams) == 1:
      return self._container.duration / av.time_base
    return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Grid:
  """Grid of equally long frames, which maps a rounded time to its sample.

  Attributes:
    origin: time of the first frame, in samples.
    first: samples of it, fewer where the encoder's delay is cut off.
    size: samples of every other frame but the last.
    step: samples between two times that the file can tell.
  """

  origin: Fraction
  first: int
  size: int
  step: Fraction

  def position(self, time: Fraction) -> int | None:
    """Number of the first sample of a frame at a time in samples; None where it is not clear."""
    position = time - self.origin
    if self.step <= 1:
      return round(position)
    # The origin is rounded too.
    frames = round((position - self.first) / self.size)
    nearest = self.first + frames * self.size
    return nearest if abs(position - nearest) <= 2 * self.step < self.size / 4 else None


def _numbered(
  frames: Iterable[av.AudioFrame], position: int
) -> Iterator[tuple[int, av.AudioFrame]]:
  for frame in frames:
    yield position, frame
    position += frame.samples
