import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.audio.flac import decode_flac
from maxtext_ext.corpus import examples
from maxtext_ext.corpus.examples import ClipMaker, Piece, pieces
from maxtext_ext.corpus.statistics import Surveyor
from maxtext_ext.records.schema import Record

PREFIX = "data:audio/flac;base64,"


def maker_of(*records: Record) -> ClipMaker:
  surveyor = Surveyor(0, "train")
  for position, record in enumerate(records):
    surveyor.add(record, position)
  return ClipMaker(surveyor.survey(), dict(enumerate(records)))


def noise(samples: int) -> np.ndarray:
  return np.random.default_rng(0).uniform(-0.5, 0.5, samples).astype(np.float32)


def played(clip) -> np.ndarray:
  assert clip.player.startswith(PREFIX)
  return decode_flac(base64.b64decode(clip.player.removeprefix(PREFIX)))


def test_the_player_has_the_samples():
  integers = np.array([0, 5, -32_768, 32_767], np.int16)
  floats = np.array([0, 2, -2, 0.25], np.float32)
  maker = maker_of(
    Record(sample_id="a", audio=integers, text="x", speaker="s"),
    Record(sample_id="b", audio=floats, text="x"),
  )
  first, second = maker.make(0, "why"), maker.make(1, "")
  assert played(first).tolist() == integers.tolist()
  assert played(second).tolist() == [0, 32_767, -32_768, 8_192]
  assert (first.id, first.speaker, first.detail) == ("a", "s", "why")
  assert first.peak == 0
  assert first.wave.startswith("M0,0L")


def test_long_clips_are_played_from_their_beginning(monkeypatch):
  monkeypatch.setattr(examples, "MAX_PLAYER_SECONDS", 0.5)
  samples = (noise(16_000) * 32_767).astype(np.int16)
  clip = maker_of(Record(sample_id="a", audio=samples, text="x")).make(0, "")
  assert (clip.seconds, clip.played) == (1, 0.5)
  assert played(clip).tolist() == samples[:8_000].tolist()


def test_players_stay_within_their_bytes(monkeypatch):
  monkeypatch.setattr(examples, "MAX_PLAYER_BYTES", 50_000)
  long, short = (Record(sample_id=str(n), audio=noise(n), text="x") for n in (30_000, 12_000))
  maker = maker_of(long, short)
  made = [maker.make(row, "") for row in (0, 1, 1, 1)]
  assert [bool(clip.player) for clip in made] == [False, True, False, False]


def test_long_texts_are_cut():
  maker = maker_of(Record(sample_id="a", audio=noise(99), text="abcdefghij" * 100))
  clip = maker.make(0, "")
  assert clip.cut
  assert clip.pieces == [Piece(text="abcdefghij" * 60, kind="")]


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("plain", [("plain", "")]),
    ("a\u200f\nb", [("a", ""), ("U+200F", "code"), ("U+000A", "code"), ("b", "")]),
    ("5 €!", [("5 ", ""), ("€", "mark"), ("!", "")]),
    ("ab הx ab", [("ab ", ""), ("הx", "mark"), (" ab", "")]),
    ("הx הx", [("הx", "mark"), (" ", ""), ("הx", "mark")]),
    ("U\u00a0", [("U", ""), ("U+00A0", "code")]),
  ],
)
def test_pieces(text, expected):
  assert [(piece.text, piece.kind) for piece in pieces(text)] == expected


@given(st.text())
def test_pieces_lose_nothing(text):
  whole = "".join(
    chr(int(piece.text[2:], 16)) if piece.kind == "code" else piece.text for piece in pieces(text)
  )
  assert whole == text
