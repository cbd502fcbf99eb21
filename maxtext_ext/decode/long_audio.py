"""Transcription of recordings of any length: pieces in, joined transcripts out.

Pieces of all recordings go through the engine in one run, so that slots stay busy, and are read as
they are needed: memory is that of the pieces that wait, whatever the length of the recordings.
"""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from maxtext_ext.audio.limits import SAMPLE_RATE, AudioError
from maxtext_ext.audio.pieces import PIECE_SECONDS, Detector, Piece, cut_pieces
from maxtext_ext.decode.controls import seed_of
from maxtext_ext.decode.echo import is_heard, is_suspect
from maxtext_ext.decode.interface import Answer
from maxtext_ext.decode.request import Request
from maxtext_ext.decode.transcript import Segment, Transcription


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recording:
  """Recording to transcribe.

  Attributes:
    blocks: opens it: [T] float32 at SAMPLE_RATE, of any lengths. It may raise AudioError.
    language: name of the language, where it is known.
    context: text that helps, in the prompt of each piece; None: the default of `Transcriber`, and
      here none.
  """

  blocks: Callable[[], Iterator[np.ndarray]]
  language: str | None = None
  context: str | None = None


@dataclasses.dataclass
class _Progress:
  """Recording that is being read or decoded.

  Attributes:
    segments: in order, without text as long as they are decoded.
    waiting: pieces that are being decoded.
    samples: read so far.
    ended: all has been read.
    error: why the rest cannot be used.
  """

  recording: Recording
  segments: list[Segment] = dataclasses.field(default_factory=list)
  waiting: int = 0
  samples: int = 0
  ended: bool = False
  error: AudioError | None = None


@dataclasses.dataclass(frozen=True)
class _Asked:
  """Piece that is being decoded.

  Attributes:
    place: of its segment in the recording.
    start: seconds from the start of the recording.
    samples: kept where there is a context, of which the answer may be an echo.
    seed: of what is drawn for it.
    suspect: the answer with the context, while it is decoded without.
  """

  progress: _Progress
  place: int
  start: float
  samples: np.ndarray | None
  seed: int
  suspect: Answer | None = None


def transcribe(
  recordings: Iterable[Recording],
  run: Callable[[Iterable[Request]], Iterator[Answer]],
  build: Callable[[str, np.ndarray, Recording], Request],
  *,
  piece_seconds: float = PIECE_SECONDS,
  make_detector: Callable[[], Detector] | None = None,
  sampling_seed: int = 0,
) -> Iterator[tuple[int, Transcription | AudioError]]:
  """Transcribes recordings; yields each with its number when it is finished, in any order.

  An answer that may be an echo of the context is compared with one without it, see `echo`.

  Args:
    recordings: read one after the other.
    run: decodes clips, as `Engine.run` with its weights.
    build: (id, samples, recording) -> the request of a piece.
    piece_seconds: length of the longest piece.
    make_detector: makes a detector of speech for a recording; None: pieces are cut at quiet points,
      and all are decoded but silence.
    sampling_seed: what is drawn for a piece follows from it and from where the piece starts, not
      from other recordings or their order.

  Yields:
    The transcript, or the reason why the audio cannot be used; other recordings go on.
  """
  limit = round(piece_seconds * SAMPLE_RATE)
  feed = _Feed(recordings, build, limit, make_detector, sampling_seed)
  clips = feed.clips()
  while True:
    for answer in run(clips):
      feed.add(answer)
      yield from feed.finished()
    if not feed.has_suspects:
      break
    clips = feed.suspects()
  yield from feed.finished()


class _Feed:
  """Pieces that go to the engine, and answers that come back."""

  def __init__(
    self,
    recordings: Iterable[Recording],
    build: Callable[[str, np.ndarray, Recording], Request],
    limit: int,
    make_detector: Callable[[], Detector] | None,
    sampling_seed: int,
  ) -> None:
    self._recordings, self._build = recordings, build
    self._limit, self._make_detector = limit, make_detector
    self._sampling_seed = sampling_seed
    self._open: dict[int, _Progress] = {}
    self._asked: dict[str, _Asked] = {}
    self._suspects: deque[Request] = deque()

  def clips(self) -> Iterator[Request]:
    """Yields the pieces to decode."""
    for number, recording in enumerate(self._recordings):
      progress = self._open[number] = _Progress(recording)
      try:
        yield from self._pieces(number, progress)
      except AudioError as error:
        progress.error = error
      progress.ended = True

  @property
  def has_suspects(self) -> bool:
    """Returns whether there are pieces to decode again."""
    return bool(self._suspects)

  def suspects(self) -> Iterator[Request]:
    """Yields pieces to decode again without context."""
    while self._suspects:
      yield self._suspects.popleft()

  def _pieces(self, number: int, progress: _Progress) -> Iterator[Request]:
    recording = progress.recording
    detector = self._make_detector() if self._make_detector else None
    for piece in cut_pieces(recording.blocks(), self._limit, detector):
      progress.samples += len(piece.samples)
      progress.segments.append(_without_text(piece, recording, trimmed=detector is not None))
      if piece.is_silent:
        continue
      start = piece.start / SAMPLE_RATE
      place = f"from {start:.3f} s"
      name, seed = f"audio[{number}] {place}", seed_of(self._sampling_seed, "", place)
      samples = piece.samples if recording.context else None
      self._asked[name] = _Asked(progress, len(progress.segments) - 1, start, samples, seed)
      progress.waiting += 1
      yield dataclasses.replace(self._build(name, piece.samples, recording), seed=seed)
      yield from self.suspects()

  def add(self, answer: Answer) -> None:
    """Adds the answer for a piece."""
    name = answer.clip.id
    asked = self._asked.pop(name)
    progress, place = asked.progress, asked.place
    recording = progress.recording
    if asked.samples is not None and is_suspect(answer.text, recording.context or ""):
      plain = dataclasses.replace(recording, context="")
      self._asked[name] = _Asked(progress, place, asked.start, None, asked.seed, suspect=answer)
      request = self._build(name, asked.samples, plain)
      self._suspects.append(dataclasses.replace(request, seed=asked.seed))
      return
    if asked.suspect is not None and is_heard(asked.suspect.text, answer.text):
      answer = asked.suspect
    log_probs = answer.written.log_probs
    progress.segments[place] = dataclasses.replace(
      progress.segments[place],
      text=answer.text,
      language=recording.language or answer.language,
      finish_reason=answer.finish_reason,
      log_prob=sum(log_probs) / len(log_probs) if log_probs else None,
      words=tuple(word.later(asked.start) for word in answer.words),
    )
    progress.waiting -= 1

  def finished(self) -> Iterator[tuple[int, Transcription | AudioError]]:
    """Yields recordings of which all pieces have got their answer."""
    done = [number for number, each in self._open.items() if each.ended and not each.waiting]
    for number in done:
      progress = self._open.pop(number)
      yield (
        number,
        progress.error
        or Transcription.of(
          progress.segments, progress.samples / SAMPLE_RATE, progress.recording.language
        ),
      )


def _without_text(piece: Piece, recording: Recording, *, trimmed: bool) -> Segment:
  """Makes the segment of a piece that is not decoded yet; trimmed: to the speech in it."""
  first, last = 0, len(piece.samples)
  if trimmed and piece.speech:
    first, last = piece.speech[0][0], piece.speech[-1][1]
  return Segment(
    start=(piece.start + first) / SAMPLE_RATE,
    end=(piece.start + last) / SAMPLE_RATE,
    text="",
    language=recording.language,
    finish_reason="no_speech",
    speech_seconds=sum(end - begin for begin, end in piece.speech) / SAMPLE_RATE,
    log_prob=None,
  )
