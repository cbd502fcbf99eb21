"""Example clips of the inspection page: text with unusual characters marked, outline, player."""

import dataclasses
from typing import Literal

from maxtext_ext.audio.levels import decibels
from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.audio.player import Players
from maxtext_ext.corpus.characters import kind_of, mixed_words
from maxtext_ext.corpus.statistics import Group, Survey
from maxtext_ext.pages.chart import waveform
from maxtext_ext.records.schema import Record

MAX_PLAYER_BYTES = 12 << 20  # of all players together, as they stand in the page
MAX_PLAYER_SECONDS = 30.0  # of a clip; the beginning of longer ones
_TEXT_SHOWN = 600  # characters
_AS_CODE = ("undefined", "control", "invisible", "space")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Piece:
  """Part of a text.

  Attributes:
    kind: "code" for the code point of an invisible character, "mark" for an unusual one.
  """

  text: str
  kind: Literal["", "mark", "code"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
  """Record to read and listen to.

  Attributes:
    speaker: "" when not known.
    cut: the text is longer than the pieces.
    peak, rms: dBFS.
    detail: why it is shown, "" for a random sample.
    wave: the outline, `d` of a path.
    player: the sound as a data: URI; "" once the page has reached its limit of sound.
    played: seconds in the player.
  """

  id: str
  group: Group
  speaker: str
  pieces: list[Piece]
  cut: bool
  seconds: float
  peak: float
  rms: float
  detail: str
  wave: str
  player: str
  played: float


class ClipMaker:
  """Maker of a page's clips; keeps the sum of their sound within MAX_PLAYER_BYTES.

  Args:
    survey: clips are made from its rows.
    records: by row.
  """

  def __init__(self, survey: Survey, records: dict[int, Record]) -> None:
    self._survey = survey
    self._records = records
    self._players = Players(MAX_PLAYER_BYTES)

  def make(self, row: int, detail: str) -> Clip:
    """Makes the clip of a row; `detail` says why it is shown."""
    record = self._records[row]
    figures = self._survey.rows[row]
    part = record.as_float32()[: round(MAX_PLAYER_SECONDS * SAMPLE_RATE)]
    return Clip(
      id=record.sample_id,
      group=self._survey.groups[figures["group"]],
      speaker=record.speaker or "",
      pieces=pieces(record.text[:_TEXT_SHOWN]),
      cut=len(record.text) > _TEXT_SHOWN,
      seconds=record.seconds,
      peak=decibels(float(figures["peak"])),
      rms=decibels(float(figures["rms"])),
      detail=detail,
      wave=waveform(part),
      player=self._players.embed(part),
      played=len(part) / SAMPLE_RATE,
    )


def pieces(text: str) -> list[Piece]:
  """Marks what is unusual: words of two scripts, symbols, and by code point what is not seen."""
  marked = [False] * len(text)
  start = 0
  for word in mixed_words(text):
    start = text.index(word, start)
    marked[start : start + len(word)] = [True] * len(word)
    start += len(word)
  result: list[Piece] = []
  for character, in_mixed_word in zip(text, marked, strict=True):
    kind = kind_of(character)
    if kind in _AS_CODE:
      result.append(Piece(text=f"U+{ord(character):04X}", kind="code"))
      continue
    wanted: Literal["mark", ""] = "mark" if in_mixed_word or kind == "symbol" else ""
    if result and result[-1].kind == wanted:
      result[-1] = Piece(text=result[-1].text + character, kind=wanted)
    else:
      result.append(Piece(text=character, kind=wanted))
  return result
