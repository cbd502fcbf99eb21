"""Subtitles in SRT and WebVTT.

References: the SubRip format as FFmpeg and players read it, and https://www.w3.org/TR/webvtt1/.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells

LINE_CELLS = 42  # columns of a line; a Chinese or Japanese character takes two
_LINES = 2  # of a cue


@dataclass(frozen=True, kw_only=True)
class Cue:
  """Text that is shown from one time to another.

  Attributes:
    start, end: in seconds.
    text: one or two lines.
  """

  start: float
  end: float
  text: str


def make_cues(
  text: str,
  start: float,
  end: float,
  words: Sequence[tuple[str, tuple[float, float]]] = (),
) -> list[Cue]:
  """Divides a long text into cues of up to two lines of 42 columns.

  Args:
    text: the transcript of a stretch of sound.
    start, end: of the stretch.
    words: all words of the text, each with its start and end. A cue lasts from its first word to
      its last one. Without them the times between are estimates: each cue gets time in proportion
      to its characters.
  """
  lines = _lines(text)
  texts = ["\n".join(lines[i : i + _LINES]) for i in range(0, len(lines), _LINES)]
  times = [time for word, time in words for _ in _characters(word)]
  if times and len(times) == len(_characters(text)):
    return _cues_by_words(texts, times)
  total, before = sum(map(len, texts)), 0
  cues = []
  for each in texts:
    first, before = before, before + len(each)
    at, until = (start + (end - start) * count / total for count in (first, before))
    cues.append(Cue(start=at, end=until, text=each))
  return cues


def _cues_by_words(texts: Sequence[str], times: Sequence[tuple[float, float]]) -> list[Cue]:
  """Makes cues of texts; times: of the word of each of their characters, without white space."""
  cues: list[Cue] = []
  first = 0
  for text in texts:
    last = first + len(_characters(text)) - 1
    at = max(times[first][0], cues[-1].end if cues else 0.0)  # a word may be divided between two
    cues.append(Cue(start=at, end=max(at, times[last][1]), text=text))
    first = last + 1
  return cues


def _characters(text: str) -> str:
  return "".join(text.split())


def to_srt(cues: Iterable[Cue]) -> str:
  """Writes cues as the text of an .srt file."""
  return "".join(
    f"{number}\n{_time(cue.start, ',')} --> {_time(cue.end, ',')}\n{cue.text}\n\n"
    for number, cue in enumerate(cues, 1)
  )


def to_vtt(cues: Iterable[Cue]) -> str:
  """Writes cues as the text of a .vtt file."""
  return "WEBVTT\n\n" + "".join(
    f"{_time(cue.start, '.')} --> {_time(cue.end, '.')}\n{_escape(cue.text)}\n\n" for cue in cues
  )


def _escape(text: str) -> str:
  return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _time(seconds: float, point: str) -> str:
  ms = round(seconds * 1000)
  return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{point}{ms % 1000:03}"


def _lines(text: str) -> list[str]:
  """Fills lines with words; a word that is longer than a line, or an unspaced text, is cut."""
  lines: list[str] = []
  for word in re.findall(r"\S+", text):
    if lines and cell_len(f"{lines[-1]} {word}") <= LINE_CELLS:
      lines[-1] += f" {word}"
    else:
      lines += chop_cells(word, LINE_CELLS)
  return lines
