import io
import json

import pytest
from rich.console import Console

from maxtext_ext.decode.writer import Hypothesis, HypothesisWriter, shard_path
from maxtext_ext.evaluate.run import evaluate


def write(directory, *pairs):
  with HypothesisWriter(shard_path(directory)) as writer:
    for index, (reference, hypothesis) in enumerate(pairs):
      writer.write(
        Hypothesis(
          id=str(index),
          dataset="demo [bold]",
          language="English",
          reference=reference,
          hypothesis=hypothesis,
        )
      )


def test_evaluate_scores_prints_and_reports(tmp_path):
  write(tmp_path / "trained", ("one two", "one two"), ("three four", "three for"))
  write(tmp_path / "untrained", ("one two", ""), ("three four", ""))
  metrics = tmp_path / "metrics.jsonl"
  metrics.write_text('{"step": 0, "loss": 4.0}\n{"step": 1, "loss": 3.0}\n')
  console = Console(file=io.StringIO(), width=120)
  scores = evaluate(
    tmp_path / "trained",
    report=tmp_path / "out" / "report.html",
    metrics=metrics,
    baseline=tmp_path / "untrained",
    title="Run",
    extra={"seconds": 3.0},
    console=console,
  )
  assert scores.wer == 0.25
  figures = json.loads((tmp_path / "out" / "report.json").read_text())
  assert (figures["wer"], figures["untrained_wer"], figures["seconds"]) == (0.25, 1.0, 3.0)
  assert "Training loss" in (tmp_path / "out" / "report.html").read_text()
  printed = console.file.getvalue()
  assert "25.00%" in printed
  assert "demo [bold]" in printed
  assert "normalizer: basic" in printed


def test_no_report_unless_asked(tmp_path):
  write(tmp_path / "trained", ("one", "one"))
  evaluate(tmp_path / "trained", normalizer="none", console=Console(file=io.StringIO()))
  assert [path.name for path in tmp_path.iterdir()] == ["trained"]


def test_bad_metrics_are_an_error(tmp_path):
  write(tmp_path / "trained", ("one", "one"))
  with pytest.raises(ValueError, match="no such file"):
    evaluate(
      tmp_path / "trained",
      report=tmp_path / "report.html",
      metrics=tmp_path / "none.jsonl",
      console=Console(file=io.StringIO()),
    )
