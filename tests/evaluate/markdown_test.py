"""The report as Markdown."""

from maxtext_ext.evaluate.boards.protocol import Board
from maxtext_ext.evaluate.compare import compare
from maxtext_ext.evaluate.decoded import Decoded
from maxtext_ext.evaluate.findings import Findings
from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.evaluate.markdown import to_markdown
from maxtext_ext.evaluate.quality import assess
from maxtext_ext.evaluate.wer import Scores, score


def system(*texts: str) -> tuple[list[Hypothesis], Scores]:
  hypotheses = [
    Hypothesis(id=str(i), dataset=f"set|{i % 2}", language="<b>", reference="one two", hypothesis=h)
    for i, h in enumerate(texts)
  ]
  return hypotheses, score(hypotheses)


def render(**options: object) -> list[str]:
  hypotheses, scores = system("one two", "one", "one too")
  findings = {"quality": assess(hypotheses, scores.texts)} | {
    name: options.pop(name) for name in ("board", "protocol", "comparisons") if name in options
  }
  defaults = {"reason": "as asked", "sources": [], "baseline": None, "facts": {}}
  text = to_markdown("A *title*", scores, findings=Findings(**findings), **defaults | options)
  return text.splitlines()


def test_rates_are_a_table():
  lines = render(baseline=system("")[1])
  assert lines[0] == r"# A \*title\*"
  assert "|  | clips | words | WER | 95% interval | sub | del | ins | CER |" in lines
  rows = {line.split(" | ")[0].strip("| "): line.split(" | ")[1:4] for line in lines if "|" in line}
  assert rows[r"Language: \<b>"] == ["3", "6", "33.33%"]
  assert rows[r"Dataset: set\|0"] == ["2", "4", "25.00%"]
  assert rows["untrained"] == ["1", "2", "100.00%"]
  assert rows["all"] == ["3", "6", "33.33%"]
  assert rows["mean of datasets"] == ["", "", "37.50%"]
  assert len({line.replace(r"\|", "").count("|") for line in lines if line.startswith("|")}) == 1


def test_sources_and_facts_are_listed():
  source = Decoded(
    run="hebrew_run", split="test", checkpoint="step", step=9, normalizer="basic", max_new_tokens=1
  )
  lines = render(sources=[source], facts={"seconds": 3.5})
  assert "Transcripts: split test by step 9 of run hebrew_run." in lines
  assert "- Normaliser: basic (as asked)" in lines
  assert "- seconds: 3.5" in lines


def test_boards_and_comparisons_have_tables():
  board = Board(sets={"x": {"WER": 2.11, "RTFx": None}}, average={"WER": 2.11, "RTFx": None})
  comparison = compare(system("one two", "one", "one too"), system("", "", ""), "other|run")
  lines = render(board=board, protocol="open-asr", comparisons=[comparison])
  assert "| x | 2.11 | n/a |" in lines
  assert "| average | 2.11 | n/a |" in lines
  assert any(line.startswith(r"Second system: other\|run. The ") for line in lines)
