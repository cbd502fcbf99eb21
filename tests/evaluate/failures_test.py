"""Clips without a transcript are named, and never left out."""

import io
import json

from rich.console import Console

from maxtext_ext.evaluate.evaluate import evaluate
from maxtext_ext.evaluate.failures import describe_failures
from maxtext_ext.evaluate.hypothesis import ERROR, Hypothesis


def make(number: int, error: str = "") -> Hypothesis:
  extra = {ERROR: error} if error else {}
  said = "" if error else "two words"
  return Hypothesis(id=f"id{number}", reference="two words", hypothesis=said, extra=extra)


def test_the_first_are_named_and_all_are_counted():
  assert describe_failures([make(0), make(1)]) == []
  lines = describe_failures([make(0), *(make(number, f"why {number}") for number in range(1, 13))])
  assert lines[0].startswith("12 of 13 clips have no transcript; each counts as an empty")
  assert lines[1] == "  id1: why 1"
  assert lines[-1] == '  and 2 more, with an "error" in their lines'
  assert len(lines) == 12


def test_they_count_as_deleted_words(tmp_path):
  lines = [{"id": "a", "reference": "two words", "hypothesis": "two words"}]
  lines += [{"id": "b", "reference": "two words", "hypothesis": "", "error": "audio [is] silent"}]
  (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
  out = io.StringIO()
  report = tmp_path / "report.html"
  scores = evaluate(tmp_path, report=report, console=Console(file=out, width=200))
  assert (scores.overall.utterances, scores.overall.words.deletions) == (2, 2)
  assert "1 of 2 clips have no transcript" in out.getvalue()
  assert "b: audio [is] silent" in out.getvalue()
  assert "1 of 2 clips have no transcript" in report.read_text("utf-8")
