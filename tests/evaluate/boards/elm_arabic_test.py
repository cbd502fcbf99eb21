"""Figures and files of the Arabic leaderboard, held against those of its own code."""

import json

import pytest

from maxtext_ext.evaluate.boards import get_protocol
from maxtext_ext.evaluate.boards.protocol import Board
from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.evaluate.wer import Method, score_texts
from tests.golden.make_boards import FILE, board_pairs

PROTOCOL = get_protocol("elm-arabic")
STORED = json.loads(FILE.read_text("utf-8"))["elm"]


def board_of(hypotheses: list[Hypothesis]) -> Board:
  scores = score_texts(hypotheses, PROTOCOL.texts(hypotheses), "arabic", Method(replicates=10))
  return PROTOCOL.board(hypotheses, scores)


def test_figures_of_a_manifest_equal_the_boards(tmp_path):
  lines = [
    {"audio_filepath": f"{i}.wav", "text": said, "pred_text": heard}
    for i, (said, heard) in enumerate(board_pairs("arabic"))
  ]
  text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
  (tmp_path / "sada.jsonl").write_text(text, "utf-8")
  (tmp_path / "other.jsonl").write_text(
    '{"text": "\u0627 \u0628", "pred_text": "\u0627"}\n', "utf-8"
  )
  hypotheses = PROTOCOL.read(tmp_path)
  board = board_of(hypotheses)
  assert board.sets["sada"] == pytest.approx(
    {"WER": STORED["wer"], "CER": STORED["cer"]}, rel=1e-12
  )
  assert board.sets["other"] == {"WER": 1 / 2, "CER": 2 / 3}
  assert board.average == pytest.approx(
    {"WER": (STORED["wer"] + 1 / 2) / 2, "CER": (STORED["cer"] + 2 / 3) / 2}
  )
  PROTOCOL.write(hypotheses, tmp_path / "ours", "model")
  written = (tmp_path / "ours" / "sada.jsonl").read_text("utf-8")
  assert [json.loads(line) for line in written.splitlines()] == lines


def test_our_own_shards_keep_their_datasets(tmp_path):
  line = json.dumps({"id": "a", "dataset": "mgb2", "reference": "x", "hypothesis": "x"})
  (tmp_path / "hypotheses-00000-of-00001.jsonl").write_text(line + "\n")
  assert [item.dataset for item in PROTOCOL.read(tmp_path)] == ["mgb2"]
