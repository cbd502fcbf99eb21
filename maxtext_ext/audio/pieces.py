"""Pieces of long audio: a stream of blocks, cut into clips that a model can take."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from maxtext_ext.audio.cuts import Span, place_cut, place_cut_in_pause, spans
from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.audio.voice import FRAME

PIECE_SECONDS = 30.0  # default length; models are usually fine-tuned on clips of up to that
MIN_PIECE_SECONDS = 1.0

# Whether each frame of the next samples, a multiple of FRAME, is speech.
Detector = Callable[[np.ndarray], np.ndarray]

_SILENCE = 3e-4  # RMS of the loudest 100 ms, 70 dB below full scale: under any recorded speech
_LEVEL_FRAME = SAMPLE_RATE // 50  # samples, 20 ms
_ABOVE_FLOOR = 4.0  # 12 dB over the noise between words
_LONG_PAUSE = 2 * SAMPLE_RATE // FRAME  # frames of a pause that is not decoded
_MARGIN = 3 * SAMPLE_RATE // 10 // FRAME  # frames kept on either side of speech
_BRIDGE = SAMPLE_RATE // 5 // FRAME  # frames without speech inside a word or between two
_SHORTEST = SAMPLE_RATE // 10 // FRAME  # frames of the shortest speech


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
  """Piece of a recording.

  Attributes:
    start: its first sample in the recording.
    samples: [T] float32 at SAMPLE_RATE.
    speech: stretches of it that are speech, in samples from its start: by a detector, or else those
      louder than the noise between them.
    is_silent: no speech in it, so that it need not be decoded.
  """

  start: int
  samples: np.ndarray
  speech: tuple[Span, ...]
  is_silent: bool


def cut_pieces(
  blocks: Iterable[np.ndarray], limit: int, detector: Detector | None = None
) -> Iterator[Piece]:
  """Cuts a stream into pieces that cover it exactly once and do not depend on its blocks.

  Twice the limit is held at a time.

  Args:
    blocks: [T] float32 at SAMPLE_RATE, of any lengths.
    limit: samples of the longest piece.
    detector: of speech, which decides where to cut; None: at quiet points.

  Raises:
    ValueError: the limit is under MIN_PIECE_SECONDS.
  """
  if limit < MIN_PIECE_SECONDS * SAMPLE_RATE:
    raise ValueError(
      f"pieces of {limit / SAMPLE_RATE:g} s, expected at least {MIN_PIECE_SECONDS:g} s"
    )
  if detector is not None:
    limit -= limit % FRAME
  ahead = _Ahead(blocks, 2 * limit)
  cut = _QuietCuts(limit) if detector is None else _PauseCuts(limit, detector)
  start = 0
  while len(samples := ahead.fill()):
    length, speech = cut(samples)
    taken = ahead.take(length)
    if speech is None:
      speech, is_silent = loud_spans(taken), is_silence(taken)
    else:
      is_silent = not speech
    yield Piece(start=start, samples=taken, speech=tuple(speech), is_silent=is_silent)
    start += length


def is_silence(samples: Float[np.ndarray, "T"]) -> bool:
  """Returns whether no 100 ms of the samples are louder than 70 dB below full scale."""
  window = SAMPLE_RATE // 10
  power = np.square(samples, dtype=np.float32)
  starts = np.arange(0, len(power), window)
  sums = np.add.reduceat(power, starts, dtype=np.float64)
  lengths = np.diff([*starts, len(power)])
  return bool(np.sqrt(np.max(sums / lengths)) < _SILENCE)


def loud_spans(samples: Float[np.ndarray, "T"]) -> list[Span]:
  """Finds stretches that are 12 dB louder than the noise between them: an estimate of speech.

  Steady noise has none, whatever its level.
  """
  count = len(samples) // _LEVEL_FRAME
  if not count:
    return []
  frames = samples[: count * _LEVEL_FRAME].reshape(count, _LEVEL_FRAME)
  level = np.sqrt(np.mean(np.square(frames), axis=1))
  floor = max(float(np.quantile(level, 0.1)), _SILENCE / _ABOVE_FLOOR)
  found = spans(level > _ABOVE_FLOOR * floor, bridge=15, shortest=3)
  return [(first * _LEVEL_FRAME, last * _LEVEL_FRAME) for first, last in found]


class _Ahead:
  """The next samples of a stream.

  Args:
    most: samples to hold.
  """

  def __init__(self, blocks: Iterable[np.ndarray], most: int) -> None:
    self._blocks = iter(blocks)
    self._held = np.empty(most, np.float32)
    self._count = 0
    self._block = self._held[:0]  # what did not fit

  def fill(self) -> np.ndarray:
    """Reads as many as fit; returns them, to be read before the next call of a method."""
    while self._count < len(self._held):
      if not len(self._block):
        block = next(self._blocks, None)
        if block is None:
          break
        self._block = block
        continue
      part = self._block[: len(self._held) - self._count]
      self._held[self._count : self._count + len(part)] = part
      self._count += len(part)
      self._block = self._block[len(part) :]
    return self._held[: self._count]

  def take(self, count: int) -> np.ndarray:
    """Removes the first ones and returns a copy of them."""
    taken = self._held[:count].copy()
    left = self._count - count
    self._held[:left] = self._held[count : self._count]
    self._count = left
    return taken


class _QuietCuts:
  """Cuts at quiet points."""

  def __init__(self, limit: int) -> None:
    self._limit = limit

  def __call__(self, samples: np.ndarray) -> tuple[int, list[Span] | None]:
    """Returns the length of the next piece; where speech is in it is not known."""
    if len(samples) <= self._limit:
      return len(samples), None
    return place_cut(samples, self._limit), None


class _PauseCuts:
  """Cuts in pauses between stretches of speech, at borders of frames."""

  def __init__(self, limit: int, detector: Detector) -> None:
    self._limit, self._detector = limit // FRAME, detector  # in frames
    self._active: Bool[np.ndarray, "N"] = np.zeros(0, bool)  # frames that were listened to already

  def __call__(self, samples: np.ndarray) -> tuple[int, list[Span]]:
    """Returns the length of the next piece, and the speech in it."""
    count = -(-len(samples) // FRAME)
    known = len(self._active)
    new = samples[known * FRAME :]
    if len(new):
      padded = np.zeros((count - known) * FRAME, np.float32)
      padded[: len(new)] = new
      self._active = np.concatenate([self._active, self._detector(padded)])
    speech = spans(self._active[:count], bridge=_BRIDGE, shortest=_SHORTEST)
    cut = place_cut_in_pause(
      speech, count, limit=self._limit, long_pause=_LONG_PAUSE, margin=_MARGIN
    )
    if cut is None:
      cut = max(1, place_cut(samples, self._limit * FRAME) // FRAME)
    self._active = self._active[cut:]
    length = min(cut * FRAME, len(samples))
    inside = [(f * FRAME, min(last * FRAME, length)) for f, last in speech if f < cut]
    return length, inside
