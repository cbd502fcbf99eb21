"""Transcript of a recording: joined text, segments with times, and speech without text."""

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence

from maxtext_ext.decode.words import Word
from maxtext_ext.text.joining import join_texts
from maxtext_ext.text.subtitles import make_cues, to_srt, to_vtt

_SHORTEST_GAP = 1.0  # seconds of speech without text that count
_SPARSE = 1.0  # characters a second of speech; slow speech has about 5, in Chinese 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segment:
  """Piece of a recording with its text.

  Attributes:
    start, end: in seconds from the start of the recording; of its speech, where a detector found
      it, else of the piece.
    text: the transcript.
    language: that was asked for, or else the one that the model heard.
    finish_reason: "stop" where the model ended its answer, "length" or "loop" where a limit did,
      "no_speech" where there is no text, since the piece is silent or the model ended without one.
    speech_seconds: of it that are speech, an estimate.
    log_prob: mean natural logarithm of the probability of its tokens; None where the engine gives
      none, or the piece was not decoded. Two segments of the same text are equal without it: it
      may differ in the last digits.
    words: of the text, with confidences and maybe times in the recording; empty where the engine
      gives no log-probabilities.
  """

  start: float
  end: float
  text: str
  language: str | None
  finish_reason: str
  speech_seconds: float
  log_prob: float | None = dataclasses.field(compare=False)
  words: tuple[Word, ...] = dataclasses.field(default=(), compare=False)

  @property
  def is_covered(self) -> bool:
    """Returns whether the text is as long as the speech lets expect."""
    if self.speech_seconds < _SHORTEST_GAP:
      return True
    return self.finish_reason != "length" and len(self.text) >= _SPARSE * self.speech_seconds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transcription:
  """Transcript of a recording.

  Attributes:
    text: the transcript: the texts of its segments, joined.
    language: the language that was asked for, or else the one that the model heard most of; None
      where it heard none.
    seconds: length of the audio.
    segments: in order; a clip that is decoded at once has one.
  """

  text: str
  language: str | None
  seconds: float
  segments: tuple[Segment, ...]

  @classmethod
  def of(cls, segments: Sequence[Segment], seconds: float, language: str | None) -> "Transcription":
    """Joins segments.

    Args:
      segments: in order.
      seconds: length of the audio.
      language: that was asked for.
    """
    heard = Counter[str]()
    for segment in segments:
      if segment.language is not None:
        heard[segment.language] += len(segment.text) + 1
    return cls(
      text=join_texts(segment.text for segment in segments),
      language=language or next((name for name, _ in heard.most_common(1)), None),
      seconds=seconds,
      segments=tuple(segments),
    )

  @property
  def complete(self) -> bool:
    """Returns whether the model ended its answers; False where a limit cut one."""
    return self.finish_reason in ("stop", "no_speech")

  @property
  def finish_reason(self) -> str:
    """Returns the worst of its segments: "length", "loop", "stop", or "no_speech" of all."""
    reasons = {segment.finish_reason for segment in self.segments}
    return next((each for each in ("length", "loop", "stop") if each in reasons), "no_speech")

  @property
  def uncovered(self) -> tuple[Segment, ...]:
    """Returns the segments with speech of which the text is missing, cut or far too short."""
    return tuple(segment for segment in self.segments if not segment.is_covered)


def to_json(transcription: Transcription, name: str = "") -> str:
  """Writes a transcription as a JSON object in one line.

  Args:
    name: of the recording.
  """
  return json.dumps(
    {
      **({"audio": name} if name else {}),
      "text": transcription.text,
      "language": transcription.language,
      "seconds": round(transcription.seconds, 3),
      "complete": transcription.complete,
      "finish_reason": transcription.finish_reason,
      "segments": [_as_dict(segment) for segment in transcription.segments],
      "uncovered": [
        {"start": round(segment.start, 3), "end": round(segment.end, 3)}
        for segment in transcription.uncovered
      ],
    },
    ensure_ascii=False,
  )


def _as_dict(segment: Segment) -> dict[str, object]:
  fields = {field.name: getattr(segment, field.name) for field in dataclasses.fields(segment)}
  rounded = {
    name: round(value, 3) if isinstance(value, float) else value for name, value in fields.items()
  }
  return rounded | {"words": [word.as_dict() for word in segment.words]}


def render(transcription: Transcription, kind: str, name: str = "") -> str:
  """Writes a transcription as the content of a file.

  Args:
    kind: key of FORMATS.
    name: of the recording, for JSON.
  """
  if kind == "json":
    return to_json(transcription, name) + "\n"
  if kind == "txt":
    return transcription.text + "\n"
  cues = []
  for each in transcription.segments:
    words = [(word.text, word.times) for word in each.words if word.times]
    cues += make_cues(each.text, each.start, each.end, words)
  return _SUBTITLES[kind](cues)


_SUBTITLES = {"srt": to_srt, "vtt": to_vtt}
FORMATS = ("txt", "json", *_SUBTITLES)
