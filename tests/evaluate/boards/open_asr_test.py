"""Figures and files of the Open ASR Leaderboard, held against those of its own code."""

import json
import pathlib

import pytest

from maxtext_ext.evaluate.boards import get_protocol
from maxtext_ext.evaluate.boards.open_asr import join_words
from maxtext_ext.evaluate.boards.protocol import Board
from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.evaluate.wer import Method, Texts, score_texts
from maxtext_ext.text.normalize import get_normalizer
from tests.golden.make_boards import FILE, write_open_asr

PROTOCOL = get_protocol("open-asr")


def board_of(hypotheses: list[Hypothesis]) -> Board:
  prepared = PROTOCOL.prepare(hypotheses)
  method = Method(alignment=PROTOCOL.alignment, replicates=10)
  scores = score_texts(prepared, PROTOCOL.texts(prepared), "open-asr", method)
  for name, group in scores.by_dataset.items():
    words = group.words
    counts[name] = {"ins": words.insertions, "del": words.deletions, "sub": words.substitutions}
  return PROTOCOL.board(prepared, scores)


counts: dict[str, dict[str, int]] = {}


def test_figures_of_manifests_equal_the_boards(tmp_path):
  write_open_asr(tmp_path)
  board = board_of(PROTOCOL.read(tmp_path))
  stored = json.loads(FILE.read_text("utf-8"))["open_asr"]["figures"]
  expected = stored["en"] | stored["de"]
  assert board.sets == {
    name: {"WER": row["wer"], "RTFx": row["rtfx"]} for name, row in sorted(expected.items())
  }
  for name, row in expected.items():
    assert counts[name] == {kind: row[kind] for kind in ("ins", "del", "sub")}
  rates = [row["wer"] for row in expected.values()]
  assert board.average == {"WER": round(sum(rates) / 3, 2), "RTFx": 90.0}


def lines_of(path: pathlib.Path) -> list[dict[str, object]]:
  return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_what_is_read_is_written_in_the_boards_form(tmp_path):
  theirs, ours = tmp_path / "theirs", tmp_path / "ours"
  theirs.mkdir()
  write_open_asr(theirs)
  paths = PROTOCOL.write(PROTOCOL.read(theirs), ours, "org/model")
  assert sorted(map(str, ours.iterdir())) == sorted(paths)
  for path in theirs.iterdir():
    normalize = get_normalizer(
      "german_open_asr" if "fleurs_de" in path.name else "english_open_asr"
    )
    said = [line for line in lines_of(path) if normalize(line["text"])]
    assert lines_of(ours / path.name) == said
    assert list(lines_of(ours / path.name)[0]) == list(said[0])


def test_clips_without_words_are_left_out_of_manifests(tmp_path):
  texts = ("two words", "[noise]", "Ignore time segment in scoring", "uh")
  hypotheses = [
    Hypothesis(id=str(i), reference=text, hypothesis="") for i, text in enumerate(texts)
  ]
  PROTOCOL.write(hypotheses, tmp_path, "m")
  lines = lines_of(tmp_path / "MODEL_m_DATASET_unspecified.jsonl")
  assert [line["text"] for line in lines] == ["two words"]


def test_chunks_are_joined_in_their_order(caplog):
  def chunk(index: int, text: str) -> Hypothesis:
    extra = {"parent_id": "p", "chunk_index": index, "time": 0.5}
    return Hypothesis(
      id=f"c{index}", duration=2.0, reference="a b c", hypothesis=text, extra=extra, dataset="d"
    )

  (session,) = PROTOCOL.prepare([chunk(2, " c"), chunk(0, "a "), chunk(1, "  ")])
  assert (session.id, session.reference, session.hypothesis) == ("p", "a b c", "a c")
  assert (session.duration, session.extra["time"]) == (6.0, 1.5)
  assert not caplog.records
  PROTOCOL.prepare([chunk(2, "c"), chunk(0, "a")])
  assert "session p: chunk_index is not 0, 1, 2" in caplog.text


@pytest.mark.parametrize(
  ("dataset", "language", "normalizer"),
  [
    ("", None, "english_open_asr"),
    ("x_fleurs_de_test", None, "german_open_asr"),
    ("mls_pt_test", "English", "portuguese_open_asr"),
    ("own", "French", "french_open_asr"),
    ("own", "Hebrew", "english_open_asr"),
    ("ami_cleaned_test", None, "english_open_asr"),
  ],
)
def test_the_normaliser_is_that_of_the_set_or_the_language(dataset, language, normalizer):
  item = Hypothesis(id="a", dataset=dataset, language=language, reference="", hypothesis="")
  assert PROTOCOL.normalizer_of(item) == normalizer


@pytest.mark.parametrize(
  ("texts", "joined"),
  [
    (("das haus tür", "das haustür"), ("das haustür", "das haustür")),
    (("haustür da", "haus tür da"), ("haustür da", "haustür da")),
    (("haus tür", "haustor"), ("haus tür", "haustor")),
    (("", "a"), ("", "a")),
    (("a b", "a b"), ("a b", "a b")),
  ],
)
def test_words_are_joined_as_the_other_side_has_them(texts, joined):
  assert join_words(Texts(*texts)) == Texts(*joined)
