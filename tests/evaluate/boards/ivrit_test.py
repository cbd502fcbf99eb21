"""Figures and files of ivrit.ai's evaluations, held against those of its own code."""

import csv
import json

import jiwer
import pytest

from maxtext_ext.evaluate.boards import get_protocol
from maxtext_ext.evaluate.boards.protocol import Board
from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.evaluate.wer import Method, score_texts
from tests.golden.make_boards import FILE, board_pairs

PROTOCOL = get_protocol("ivrit")
STORED = json.loads(FILE.read_text("utf-8"))["ivrit"]


def hypotheses() -> list[Hypothesis]:
  return [
    Hypothesis(
      id=str(i),
      dataset="eval-d1",
      language="Hebrew",
      duration=float(i % 12),
      reference=said,
      hypothesis=heard,
      extra={"transcription_time": 0.25 * (i % 7), "attrs": "x, y", "metadata_id": "7"},
    )
    for i, (said, heard) in enumerate(board_pairs("hebrew"))
  ]


def board_of(items: list[Hypothesis]) -> Board:
  scores = score_texts(items, PROTOCOL.texts(items), "hebrew_ivrit", Method(replicates=10))
  return PROTOCOL.board(items, scores)


def test_rates_equal_the_boards():
  figures = board_of(hypotheses()).sets["eval-d1"]
  assert figures["WER"] == pytest.approx(STORED["wer"], rel=1e-12)
  assert figures["WIL"] == pytest.approx(STORED["wil"], rel=1e-12)


def test_times_are_those_of_clips_of_five_seconds_and_more():
  clips = [
    Hypothesis(
      id=str(i), duration=seconds, reference="", hypothesis="", extra={"transcription_time": time}
    )
    for i, (seconds, time) in enumerate([(4.9, 9.0), (5.0, 1.0), (10.0, 4.0), (10.0, 0.0)])
  ]
  figures = board_of(clips).sets["unspecified"]
  expected = {"mean time": 0.3, "median time": 0.3, "p90 time": 0.4, "p99 time": 0.4}
  assert {name: figures[name] for name in expected} == pytest.approx(expected)


def test_files_have_the_boards_columns_and_are_read_back(tmp_path):
  items = hypotheses()
  (path,) = PROTOCOL.write(items, tmp_path, "org/model")
  with open(path, encoding="utf-8", newline="") as file:
    rows = list(csv.DictReader(file))
  assert list(rows[0]) == [
    *("id", "reference_text", "predicted_text", "norm_reference_text", "norm_predicted_text"),
    *("wer", "wil", "substitutions", "deletions", "insertions", "hits"),
    *("audio_duration", "transcription_time", "metadata_attrs", "metadata_id"),
    *("model", "dataset", "dataset_split", "engine"),
  ]
  for row in rows:
    theirs = jiwer.process_words(row["norm_reference_text"], row["norm_predicted_text"])
    assert float(row["wer"]) == pytest.approx(theirs.wer)
    assert float(row["wil"]) == pytest.approx(theirs.wil)
    assert int(row["hits"]) == theirs.hits
  again = PROTOCOL.read(tmp_path)
  assert again == items
  assert [item.extra for item in again] == [item.extra for item in items]
  assert board_of(again) == board_of(items)


def test_lines_of_json_are_read_too(tmp_path):
  (tmp_path / "a.jsonl").write_text('{"id": "a", "reference": "x", "hypothesis": "x"}\n')
  assert [item.id for item in PROTOCOL.read(tmp_path)] == ["a"]


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b"a,b\n1,2\n", r"x\.csv:2: no column reference_text"),
    (b"reference_text\nx\n", r"x\.csv:2: no column predicted_text"),
    (b"reference_text,predicted_text,audio_duration\nx,y,z\n", r"x\.csv:2: .*'z'"),
    (b"reference_text,predicted_text,audio_duration\nx,y,-1\n", r"x\.csv:2: duration is -1"),
    (b"reference_text\n\xff\n", r"x\.csv: no CSV file in UTF-8"),
    (b"reference_text\n" + b"x" * 200_000, r"x\.csv: no CSV file"),
  ],
)
def test_a_malformed_file_is_one_line(tmp_path, content, message):
  (tmp_path / "x.csv").write_bytes(content)
  with pytest.raises(ValueError, match=message):
    PROTOCOL.read(tmp_path / "x.csv")


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(ValueError, match="no such file or directory"):
    PROTOCOL.read(tmp_path / "none.csv")
