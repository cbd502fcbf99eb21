"""Transcripts of recordings: joined from segments, checked for missing text, and written."""

import dataclasses
import json

import pytest

from maxtext_ext.decode.transcript import FORMATS, Segment, Transcription, render
from maxtext_ext.decode.words import Word


def segment(start: float, end: float, text: str = "", **fields) -> Segment:
  known = {"language": "English", "finish_reason": "stop", "log_prob": -0.25}
  known["speech_seconds"] = float(fields.pop("speech_seconds", end - start))
  return Segment(start=float(start), end=float(end), text=text, **{**known, **fields})


WORDS = tuple(Word(text=word, confidence=1 / 3) for word in ("one", "two", "three"))
SEGMENTS = [
  segment(0, 10, "one two three", words=WORDS),
  segment(10, 20, finish_reason="no_speech", speech_seconds=0, language=None, log_prob=None),
  segment(20, 30, "arba", language="Hebrew", speech_seconds=3),
]


def test_segments_are_joined():
  joined = Transcription.of(SEGMENTS, 30.0, None)
  assert (joined.text, joined.language, joined.seconds) == ("one two three arba", "English", 30.0)
  assert joined.finish_reason == "stop"
  assert joined.complete
  assert Transcription.of(SEGMENTS, 30.0, "Hebrew").language == "Hebrew"


@pytest.mark.parametrize(
  ("reasons", "expected", "complete"),
  [
    (["no_speech", "no_speech"], "no_speech", True),
    ([], "no_speech", True),
    (["no_speech", "stop"], "stop", True),
    (["stop", "loop"], "loop", False),
    (["loop", "length", "stop"], "length", False),
  ],
)
def test_the_worst_reason_counts(reasons, expected, complete):
  segments = [segment(0, 1, finish_reason=reason) for reason in reasons]
  joined = Transcription.of(segments, 1.0, None)
  assert (joined.finish_reason, joined.complete) == (expected, complete)


def test_speech_without_text_is_listed():
  missing = [
    segment(10, 20, finish_reason="no_speech"),
    segment(20, 30, "ab", finish_reason="loop"),
    segment(30, 40, "a text of some length", finish_reason="length"),
  ]
  fine = [
    segment(0, 10, "ten words or so", speech_seconds=9),
    segment(40, 50, finish_reason="no_speech", speech_seconds=0.4),
    segment(50, 51, "a"),
  ]
  joined = Transcription.of([fine[0], *missing, *fine[1:]], 51.0, None)
  assert joined.uncovered == tuple(missing)


def test_subtitles_last_as_long_as_their_words():
  words = tuple(
    Word(text=text, confidence=0.5, times=(start, start + 0.5))
    for text, start in (("one", 2.0), ("two", 3.0), ("three", 9.25))
  )
  spoken = dataclasses.replace(SEGMENTS[0], words=words)
  shown = render(Transcription.of([spoken], 10.0, None), "vtt")
  assert shown == "WEBVTT\n\n00:00:02.000 --> 00:00:09.750\none two three\n\n"


def test_every_format():
  joined = Transcription.of([*SEGMENTS, segment(30, 40)], 40.0, None)
  assert FORMATS == ("txt", "json", "srt", "vtt")
  assert render(joined, "txt") == "one two three arba\n"
  line = "00:00:20.000 --> 00:00:30.000\narba\n"
  assert line in render(joined, "vtt")
  assert "\n\n2\n" + line.replace(".", ",") in render(joined, "srt")
  written = json.loads(render(joined, "json", "a.wav"))
  assert {key: value for key, value in written.items() if key != "segments"} == {
    "audio": "a.wav",
    "text": joined.text,
    "language": "English",
    "seconds": 40.0,
    "complete": True,
    "finish_reason": "stop",
    "uncovered": [{"start": 30, "end": 40}],
  }
  assert written["segments"][0] == {
    "start": 0,
    "end": 10,
    "text": "one two three",
    "language": "English",
    "finish_reason": "stop",
    "speech_seconds": 10,
    "log_prob": -0.25,
    "words": [{"word": word, "confidence": 0.3333} for word in ("one", "two", "three")],
  }
