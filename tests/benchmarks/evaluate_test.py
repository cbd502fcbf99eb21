import json

from benchmarks import evaluate


def test_a_line_for_each_normaliser_and_block(capsys, monkeypatch):
  monkeypatch.setattr("sys.argv", ["evaluate", "--pairs", "40"])
  evaluate.main()
  lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
  assert [(line["normalizer"], line["block"]) for line in lines] == [
    ("english", "speaker"),
    ("english", "clip"),
    ("basic", "speaker"),
    ("basic", "clip"),
  ]
  assert all(line["pairs"] == 40 and line["ours"] > 0 for line in lines)


def test_about_eight_in_a_hundred_words_are_wrong():
  hypotheses = evaluate.make_hypotheses(500)
  assert hypotheses == evaluate.make_hypotheses(500)
  assert 0.06 < evaluate.score(hypotheses).wer < 0.12
