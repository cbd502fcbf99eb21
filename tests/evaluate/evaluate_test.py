import dataclasses
import io
import json

import pytest
from rich.console import Console

from maxtext_ext.evaluate.decoded import Decoded
from maxtext_ext.evaluate.evaluate import evaluate
from maxtext_ext.evaluate.hypotheses import Hypothesis, HypothesisWriter, shard_path
from maxtext_ext.evaluate.wer import Method


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
  write(tmp_path / "trained", ("up down", "up down"), ("left right", "left write"))
  write(tmp_path / "untrained", ("up down", ""), ("left right", ""))
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
  assert "normalizer: english, for English" in printed


def test_no_report_unless_asked(tmp_path):
  write(tmp_path / "trained", ("one", "one"))
  evaluate(tmp_path / "trained", normalizer="none", console=Console(file=io.StringIO()))
  assert [path.name for path in tmp_path.iterdir()] == ["trained"]


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_file_without_a_line_is_named(tmp_path, content):
  (tmp_path / "hypotheses.jsonl").write_text(content)
  with pytest.raises(ValueError, match=r"hypotheses\.jsonl: no line in it; expected hypotheses"):
    evaluate(tmp_path / "hypotheses.jsonl", console=Console(file=io.StringIO()))


def test_bad_metrics_are_an_error(tmp_path):
  write(tmp_path / "trained", ("one", "one"))
  with pytest.raises(ValueError, match="no such file"):
    evaluate(
      tmp_path / "trained",
      report=tmp_path / "report.html",
      metrics=tmp_path / "none.jsonl",
      console=Console(file=io.StringIO()),
    )


def evaluated(path, hypotheses, source=None, **options):
  """The scores of hypotheses, and what is printed."""
  with HypothesisWriter(shard_path(path)) as writer:
    for hypothesis in hypotheses:
      writer.write(hypothesis)
  if source is not None:
    source.write(str(path))
  console = Console(file=io.StringIO(), width=120)
  return evaluate(path, console=console, **options), console.file.getvalue()


SOURCE = Decoded(run="run", split="test", checkpoint="base", normalizer="hebrew", max_new_tokens=3)


@pytest.mark.parametrize(
  ("languages", "source", "options", "expected"),
  [
    (["Hebrew"], None, {}, "hebrew, for Hebrew"),
    (["Arabic", "Arabic"], None, {}, "arabic, for Arabic"),
    (["German"], None, {}, "basic, for German"),
    ([None], None, {}, "basic, as no language is named"),
    (["Hebrew", None], None, {}, "basic, for several languages"),
    (["English"], SOURCE, {}, "hebrew, the run's"),
    (["English"], SOURCE, {"normalizer": "none"}, "none, as asked"),
  ],
)
def test_the_normalizer_is_the_runs_or_the_languages(
  tmp_path, languages, source, options, expected
):
  hypotheses = [
    Hypothesis(id=str(i), language=language, reference="one", hypothesis="one")
    for i, language in enumerate(languages)
  ]
  scores, printed = evaluated(tmp_path, hypotheses, source, **options)
  assert f"(normalizer: {expected})" in printed
  assert scores.normalizer == expected.split(",")[0]
  if source is not None:  # also beside a single file
    again = evaluate(shard_path(tmp_path), console=Console(file=io.StringIO()), **options)
    assert again.normalizer == scores.normalizer


def test_names_of_data_cannot_command_the_terminal(tmp_path):
  hostile = "\x1b[2J\x1b]0;x\x07\u202e[red]"
  hypothesis = Hypothesis(
    id="a", dataset=hostile, language=hostile, reference="one", hypothesis="one"
  )
  _, printed = evaluated(tmp_path, [hypothesis])
  assert not set("\x1b\x07\u202e") & set(printed)
  assert printed.count(r"\x1b[2J\x1b]0;x\x07\u202e[red]") == 3


def test_cut_hypotheses_are_counted_with_the_key_to_raise(tmp_path):
  hypotheses = [
    Hypothesis(id=str(i), reference="one two", hypothesis="one", complete=i > 1) for i in range(5)
  ]
  scores, printed = evaluated(tmp_path / "a", hypotheses, SOURCE)
  assert scores.overall.cut == 2
  assert "2 of 5 transcripts cut by max_new_tokens=3: raise it" in printed
  assert "transcripts cut by max_new_tokens: raise it" in evaluated(tmp_path / "b", hypotheses)[1]
  assert "cut" not in evaluated(tmp_path / "c", hypotheses[2:])[1]
  looped = [dataclasses.replace(item, extra={"finish_reason": "loop"}) for item in hypotheses]
  assert "cut by" not in evaluated(tmp_path / "d", looped, SOURCE)[1]
  source = SOURCE.model_copy(update={"config": {"max_tokens_per_second": 2.0}})
  printed = evaluated(tmp_path / "e", hypotheses, source)[1]
  assert "cut by max_new_tokens=3 or max_tokens_per_second=2.0: raise it" in printed


def clips(*hypotheses: str, **fields: object) -> list[Hypothesis]:
  return [
    Hypothesis(
      **{"id": str(i), "dataset": "d", "reference": "one two", "hypothesis": text} | fields
    )
    for i, text in enumerate(hypotheses)
  ]


def printed_lines(path, hypotheses, **options):
  return evaluated(path, hypotheses, **options)[1].splitlines()


def test_the_intervals_name_blocks_resamples_and_seed(tmp_path):
  hypotheses = [*clips("one two", extra={"speaker": "s"}), *clips(*["one"] * 3)[1:]]
  method = Method(replicates=20, seed=5)
  lines = printed_lines(tmp_path, hypotheses, method=method)
  printed = " ".join(lines)
  assert "95% intervals of 1 block by speaker and 2 by clip, 20 resamples, seed 5" in printed


def test_a_comparison_is_printed_and_reported(tmp_path):
  evaluated(tmp_path / "other", clips(*["one"] * 30))
  lines = printed_lines(
    tmp_path / "ours",
    clips(*["one two"] * 31),
    compare_with=[tmp_path / "other"],
    report=tmp_path / "report.html",
  )
  printed = " ".join(" ".join(lines).split())
  assert "The first system has fewer word errors than the second: 0.00% and 50.00%" in printed
  assert "1 clip left out, which only one system has." in lines
  figures = json.loads((tmp_path / "report.json").read_text())
  assert figures["comparisons"][0]["all"]["distinguished"] is True
  page = (tmp_path / "report.html").read_text()
  assert "The first system has fewer word errors" in page
  assert "The first system has fewer word errors" in (tmp_path / "report.md").read_text()


def test_quality_and_calibration_are_printed(tmp_path):
  words = [{"word": word, "confidence": 0.75} for word in ("one", "too")]
  hypotheses = [
    *clips("one too", extra={"words": words}),
    Hypothesis(id="noise", duration=30.0, reference="", hypothesis="thank you " * 5),
  ]
  lines = printed_lines(tmp_path, hypotheses, report=tmp_path / "report.html")
  assert "Loops: 50.00% (1 of 2)" in lines
  assert "Clips without speech: 1, 1 with text, 20 words a minute" in lines
  assert "Words with a confidence: 2, 50.00% right" in lines
  figures = json.loads((tmp_path / "report.json").read_text())
  assert figures["quality"]["silence_words_per_minute"] == 20
  assert figures["calibration"]["ece"] == 0.25
  assert "Confidence of words" in (tmp_path / "report.html").read_text()


def test_a_protocol_prints_its_board_and_writes_its_manifests(tmp_path):
  lines = printed_lines(
    tmp_path / "a",
    clips("white peper", reference="white paper"),
    source=SOURCE,
    protocol="open-asr",
    manifests=tmp_path / "manifests",
    report=tmp_path / "report.html",
  )
  assert any("As open-asr scores" in line for line in lines)
  path = tmp_path / "manifests" / "MODEL_run_DATASET_d.jsonl"
  assert json.loads(path.read_text())["pred_text"] == "white peper"
  assert f"manifest: {path}" in lines
  figures = json.loads((tmp_path / "report.json").read_text())
  assert figures["board"]["average"] == {"WER": 50.0, "RTFx": None}
  assert "As open-asr scores" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"protocol": "ivrit", "normalizer": "basic"}, "ivrit has its own normalizer; leave 'basic'"),
    (
      {"protocol": "ivrit", "method": Method(alignment="sclite")},
      "its own alignment; leave sclite",
    ),
    ({"manifests": "out"}, "manifests have the form of a board; name one by --protocol"),
    ({"method": Method(by=("snr",))}, "no hypothesis has a field 'snr'"),
    ({"compare_with": ["nothing"]}, "nothing: no such file or directory"),
  ],
)
def test_contradictions_are_one_line(tmp_path, options, message):
  with pytest.raises(ValueError, match=message):
    evaluated(tmp_path, clips("one"), **options)


def test_other_systems_need_not_have_the_fields_of_groups(tmp_path):
  evaluated(tmp_path / "other", clips("one", "one two"))
  _, printed = evaluated(
    tmp_path / "ours",
    clips("one two", "one", extra={"noise": "car"}),
    method=Method(by=("noise",)),
    compare_with=[tmp_path / "other"],
    baseline=tmp_path / "other",
  )
  assert "car" in printed
  assert "untrained" in printed


@pytest.mark.parametrize(
  ("inputs", "report"),
  [
    ({"path": "hyp.json"}, "hyp.html"),
    ({"path": "hyp.json"}, "link.html"),
    ({"path": "hyp.json"}, "hyp.jsonl"),
    ({"path": "a", "compare_with": ["hyp.json"]}, "./hyp.html"),
    ({"path": "a", "baseline": "hyp.json"}, "hyp.html"),
    ({"path": "a", "metrics": "metrics.json"}, "metrics.html"),
    ({"path": "a"}, "a/decoded.html"),  # its origin, decoded.json
    ({"path": "hyp.json", "audio": "a"}, "a/decoded.html"),
  ],
)
def test_a_report_overwrites_no_input(tmp_path, monkeypatch, inputs, report):
  monkeypatch.chdir(tmp_path)
  evaluated(tmp_path / "a", clips("one"), source=SOURCE)
  shard = next((tmp_path / "a").glob("*.jsonl"))
  for name in ("hyp.json", "hyp.jsonl", "metrics.json"):
    (tmp_path / name).write_text(shard.read_text() if name.startswith("hyp") else "")
  (tmp_path / "link.json").symlink_to("hyp.json")
  before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
  with pytest.raises(ValueError, match=r"overwrit|name it \.html"):
    evaluate(report=report, console=Console(file=io.StringIO()), **inputs)
  assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_report_may_be_written_again_beside_its_hypotheses(tmp_path):
  for _ in range(2):
    evaluated(tmp_path, clips("one"), report=tmp_path / "report.html")


def test_manifests_are_written_apart(tmp_path):
  evaluated(tmp_path / "a", clips("one"))
  for path in (tmp_path / "a", next((tmp_path / "a").glob("*.jsonl"))):
    with pytest.raises(ValueError, match="name another folder for the manifests"):
      evaluate(path, protocol="open-asr", manifests=tmp_path / "b" / ".." / "a")


@pytest.mark.parametrize("option", ["metrics", "audio"])
def test_what_only_a_report_shows_needs_one(tmp_path, option):
  with pytest.raises(ValueError, match=f"{option} is for the report only; name its page"):
    evaluated(tmp_path, clips("one"), **{option: tmp_path / "nothing"})


def test_lines_that_are_left_out_are_counted(tmp_path):
  lines = [*clips("one"), Hypothesis(id="unknown", dataset="d", reference=None, hypothesis="x")]
  _, printed = evaluated(tmp_path, lines, report=tmp_path / "report.html")
  assert "1 of 2 lines have no reference and are left out" in printed
  figures = json.loads((tmp_path / "report.json").read_text())
  assert figures["lines without a reference, left out"] == "1 of 2 lines"


@pytest.mark.parametrize(
  ("protocol", "language", "said"),
  [
    ("open-asr", "Arabic", True),
    ("open-asr", "German", False),
    ("open-asr", None, False),
    ("ivrit", "Hebrew", False),
    ("ivrit", "Arabic", True),
    ("elm-arabic", "Arabic/English", False),
  ],
)
def test_a_board_without_the_language_is_said(tmp_path, protocol, language, said):
  lines = [Hypothesis(id="a", language=language, reference="one", hypothesis="one")]
  _, printed = evaluated(tmp_path, lines, protocol=protocol)
  assert (f"{protocol} is no board for {language}: scored with" in printed) is said
