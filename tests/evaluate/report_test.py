import json
import re

import gcs_server
import numpy as np
import pytest
import soundfile

from maxtext_ext.evaluate import formats, report
from maxtext_ext.evaluate.decoded import Decoded
from maxtext_ext.evaluate.hypotheses import Hypothesis
from maxtext_ext.evaluate.report import TrainingCurves, format_interval, write_report
from maxtext_ext.evaluate.wer import Method, score
from maxtext_ext.files import remote
from maxtext_ext.pages.chart import WIDE
from tests.page import Page

HOSTILE = "<script>alert('1')</script>"


def utterance(identifier: str, reference: str, hypothesis: str, **fields: object) -> Hypothesis:
  return Hypothesis(id=identifier, reference=reference, hypothesis=hypothesis, **fields)


HYPOTHESES = [
  utterance(
    "en",
    "the cat sat on two old mats today",
    "the cat sit on old mats today now",
    dataset="d1",
    language="English",
  ),
  utterance("he", "שלום לכולם", "שלום לך", dataset="d1", language="Hebrew", duration=3.5),
  utterance("ar", "صباح الخير", "صباح الخير", dataset="d2", language="Arabic"),
]


def write(tmp_path, hypotheses=HYPOTHESES, **options):
  options = {"title": "Run 7", "normalizer": "basic"} | options
  write_report(hypotheses, tmp_path / "report.html", **options)
  text = (tmp_path / "report.html").read_text(encoding="utf-8")
  return Page(text), json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))


def test_json_holds_the_figures(tmp_path):
  baseline = score([utterance("1", "a b", "a")])
  _, figures = write(tmp_path, baseline=baseline, extra={"seconds": 412.5, "model": "tiny"})
  scores = score(HYPOTHESES)
  assert figures["wer"] == scores.wer == 4 / 12
  assert figures["cer"] == scores.cer
  assert figures["wer_by_language"] == {"Arabic": 0.0, "English": 3 / 8, "Hebrew": 0.5}
  assert figures["wer_by_dataset"] == {"d1": 4 / 10, "d2": 0.0}
  assert figures["untrained_wer"] == 0.5
  assert figures["seconds"] == 412.5
  assert figures["model"] == "tiny"
  assert figures["normalizer"] == "basic"
  assert figures["wer_interval"] == list(scores.overall.words.interval)
  words = figures["details"]["by_language"]["English"]["words"]
  counts = [words[kind] for kind in ("hits", "substitutions", "deletions", "insertions")]
  assert counts == [6, 1, 1, 1]
  assert words["reference"] == 8


def test_json_has_no_key_for_what_was_not_given(tmp_path):
  _, figures = write(tmp_path)
  assert not figures.keys() & {"untrained_wer", "seconds"}


def test_rate_without_reference_words_is_null(tmp_path):
  page, figures = write(tmp_path, [utterance("1", "", "noise")])
  assert figures["wer"] is None
  assert "n/a" in page.inside("tile")


def test_page_shows_the_figures(tmp_path):
  page, _ = write(tmp_path, baseline=score([utterance("1", "a b", "a")]), extra={"steps": 300})
  assert page.inside("h1") == ["Run 7"]
  assert "33.33%" in page.inside("tile", "lead")
  assert "50.00%" in page.inside("tile")
  table = page.inside("tbody")
  english = table.index("English")
  assert table[english : english + 4] == ["English", "1", "8", "37.50%"]
  assert {"Arabic", "Hebrew", "d1", "d2", "All clips"} <= set(table)
  assert "300" in page.inside("dd")


def test_page_stands_alone(tmp_path):
  page, _ = write(tmp_path, curves=TrainingCurves(loss=[(0, 5.0), (10, 1.0)]))
  tags = {tag for tag, _ in page.elements}
  assert not tags & {"script", "link", "img", "iframe", "object", "base", "form", "a"}
  attributes = {name for _, attributes in page.elements for name in attributes}
  assert not attributes & {"src", "href", "srcset", "action", "style"}
  text = (tmp_path / "report.html").read_text(encoding="utf-8")
  assert not re.search(r"https?:|url\(|@import", text)
  policy = [a["content"] for tag, a in page.elements if "http-equiv" in a]
  assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]
  assert "prefers-color-scheme: dark" in text


def test_everything_is_escaped(tmp_path):
  plain, _ = write(tmp_path)
  hostile = utterance(HOSTILE, HOSTILE, "x", dataset=HOSTILE, language=HOSTILE)
  page, figures = write(
    tmp_path, [hostile], title=HOSTILE, normalizer="none", extra={HOSTILE: HOSTILE}
  )
  assert "script" not in {tag for tag, _ in page.elements}
  assert {tag for tag, _ in page.elements} <= {tag for tag, _ in plain.elements}
  for place in (
    ("h1",),
    ("title",),
    ("meta", "b"),
    ("details", "dd"),
    ("tbody",),
    ("dt",),
    ("del",),
  ):
    assert HOSTILE in page.inside(*place), place
  assert figures["title"] == HOSTILE


def test_differences_are_marked_word_by_word(tmp_path):
  page, _ = write(tmp_path)
  assert page.inside("article", "substitution", "del") == ["sat", "לכולם"]
  assert page.inside("article", "substitution", "ins") == ["sit", "לך"]
  assert page.inside("article", "deletion", "del") == ["two"]
  assert page.inside("article", "insertion", "ins") == ["now"]
  assert page.inside("article", "meta", "b") == [
    "en",
    "he",
  ]  # most errors first, perfect ones never


def test_right_to_left_lines_run_right_to_left_and_words_are_isolated(tmp_path):
  page, _ = write(tmp_path)
  directions = [a["dir"] for _, a in page.elements if a.get("class") == "words"]
  assert directions == ["ltr", "rtl"]
  words = [path for path, _ in page.texts if "words" in path]
  assert words
  assert all(path[-1] == "bdi" for path in words)
  raw = [a for tag, a in page.elements if tag == "dd" and "dir" in a]
  assert all(a["dir"] == "auto" for a in raw)


def test_loss_curve(tmp_path):
  loss = [(step, 5.0 / (1 + step)) for step in range(100)]
  page, _ = write(tmp_path, curves=TrainingCurves(loss=loss))
  assert "Training loss" in page.inside("h2")
  labels = page.inside("svg", "text")
  assert {"step", "loss", "0", "20", "80"} <= set(labels)
  assert sum("d" in attributes for tag, attributes in page.elements if tag == "path") == 2


def test_error_rates_while_training_share_a_picture(tmp_path):
  rates = TrainingCurves(wer=[(6, 1.5), (12, 0.5)], cer=[(6, 0.75), (12, 0.25)])
  page, _ = write(tmp_path, curves=rates)
  assert "Error rates while training" in page.inside("h2")
  assert "Training loss" not in page.inside("h2")
  assert {"step", "error rate, %", "50", "150"} <= set(page.inside("svg", "text"))
  lines = {a["class"]: a["d"] for tag, a in page.elements if tag == "path" and "class" in a}
  heights = [float(point.split(",")[1]) for point in lines["line wer"].strip("M").split("L")]
  lower = [float(point.split(",")[1]) for point in lines["line cer"].strip("M").split("L")]
  foot = WIDE.height - WIDE.bottom
  assert [foot - y for y in lower] == pytest.approx([(foot - y) / 2 for y in heights], abs=0.2)


def test_no_curves(tmp_path):
  page, _ = write(tmp_path, curves=TrainingCurves(wer=[(6, 0.5)]))
  assert not {"Training loss", "Error rates while training"} & set(page.inside("h2"))


def test_the_run_its_checkpoint_and_the_split_are_named(tmp_path):
  source = Decoded(
    run="hebrew", split="test", checkpoint="step", step=12, normalizer="hebrew", max_new_tokens=8
  )
  cut = utterance("cut", "one two three", "one two", complete=False)
  page, figures = write(tmp_path, [*HYPOTHESES, cut], source=source, normalizer_reason="the run's")
  head = " ".join(page.inside("header"))
  assert "(the run's)" in head and "Split test , transcribed by step 12 of run hebrew" in head
  assert "1 of 4 hypotheses were cut by max_new_tokens=8" in head
  assert [figures[key] for key in ("run", "split", "step", "cut")] == ["hebrew", "test", 12, 1]


def test_an_input_is_named_instead_of_a_split(tmp_path):
  source = Decoded(
    run="hebrew",
    split="test",  # as earlier versions wrote beside an input
    checkpoint="base",
    normalizer="hebrew",
    max_new_tokens=8,
    input="gs://b/calls",
  )
  page, figures = write(tmp_path, HYPOTHESES, source=source)
  assert "Input gs://b/calls , transcribed by the model" in " ".join(page.inside("header"))
  assert (figures["input"], "split" in figures) == ("gs://b/calls", False)
  assert "Transcripts: gs://b/calls by the model" in (tmp_path / "report.md").read_text()


def test_perfect_run_says_so(tmp_path):
  page, figures = write(tmp_path, [HYPOTHESES[2]])
  assert figures["wer"] == 0.0
  assert "Every clip is as its reference." in page.inside("section")
  assert page.inside("article") == []


def test_long_utterances_show_their_errors_and_little_else(tmp_path):
  words = [f"w{index}" for index in range(5000)]
  wrong = words.copy()
  wrong[2500] = "oops"
  page, _ = write(tmp_path, [utterance("long", " ".join(words), " ".join(wrong))])
  shown = page.inside("article", "words")
  around = [*words[2497:2500], "w2500", "oops", *words[2501:2504]]
  gaps = ["2,494 correct words", "2,493 correct words"]
  assert shown == [*words[:3], gaps[0], *around, gaps[1], *words[-3:]]


def test_page_is_bounded(tmp_path, monkeypatch):
  monkeypatch.setattr(report, "WORST", 2)
  hypotheses = [utterance(str(i), "a " * 400, "b " * (400 - i)) for i in range(5)]
  page, _ = write(tmp_path, hypotheses)
  assert page.inside("article", "meta", "b") == ["0", "1"]
  assert page.inside("article", "gap") == ["100 more", "100 more"]


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"extra": {"wer": 0.0}}, r"extra facts \['wer'\] are figures of the report itself"),
    ({"normalizer": "none", "scores": score(HYPOTHESES)}, "scores belong to another normalizer"),
    ({"scores": score(HYPOTHESES[:2])}, "or to other hypotheses"),
  ],
)
def test_contradictions(tmp_path, options, message):
  with pytest.raises(ValueError, match=message):
    write(tmp_path, **options)
  assert list(tmp_path.iterdir()) == []


def test_page_must_not_take_the_place_of_its_figures(tmp_path):
  with pytest.raises(ValueError, match=r"name it \.html"):
    write_report(HYPOTHESES, tmp_path / "report.json", title="")


def test_format_interval():
  assert format_interval((0.07, 0.0912)) == "7.00–9.12"
  assert format_interval(None) == "n/a"


def test_a_report_may_go_into_a_bucket(monkeypatch):
  with gcs_server.serving(monkeypatch, "bucket"):
    write_report(HYPOTHESES, "gs://bucket/run/test.html", title="t")
    assert remote.list_folder("gs://bucket/run") == [
      "gs://bucket/run/test.html",
      "gs://bucket/run/test.json",
      "gs://bucket/run/test.md",
    ]


def test_worst_clips_have_players_where_their_sound_is_found(tmp_path, monkeypatch):
  samples = np.random.default_rng(0).uniform(-0.5, 0.5, 8_000).astype(np.float32)
  for name in ("en", "he"):
    soundfile.write(tmp_path / f"{name}.wav", samples, 16_000)
  page, _ = write(tmp_path, audio=tmp_path)
  players = [a for tag, a in page.elements if tag == "audio"]
  assert [player["aria-label"] for player in players] == ["en", "he"]
  assert all(player["src"].startswith("data:audio/flac;base64,") for player in players)
  (policy,) = [a["content"] for tag, a in page.elements if "http-equiv" in a]
  assert policy == "default-src 'none'; style-src 'unsafe-inline'; media-src data:"
  assert any("8 MB of sound in all" in text for text in page.inside("section"))
  assert any("The first 0.5 s of 3.5 s." in text for text in page.inside("article"))
  monkeypatch.setattr(report, "MAX_PLAYER_BYTES", len(players[0]["src"]))
  full, _ = write(tmp_path, audio=tmp_path)
  assert sum(tag == "audio" for tag, _ in full.elements) == 1
  assert any("No player: the page holds" in text for text in full.inside("article"))


def test_mixed_scripts_have_a_column_and_units_of_their_own(tmp_path):
  mixed = utterance("zh", "\u6211\u4eec\u53bb shop", "\u6211\u95e8\u53bb shop", dataset="d1")
  page, figures = write(tmp_path, [*HYPOTHESES, mixed])
  assert "MER" in page.inside("thead")
  assert figures["mer"] == score([*HYPOTHESES, mixed]).overall.mer
  meta = " ".join(page.inside("article", "meta"))
  assert "1 error in 4 words" in meta
  plain, _ = write(tmp_path)
  assert "MER" not in plain.inside("thead")


def test_groups_that_are_left_out_are_counted(tmp_path, monkeypatch):
  monkeypatch.setattr(formats, "MAX_GROUPS", 1)
  hypotheses = [utterance(str(i), "a b", "a", extra={"speaker": f"s{i}"}) for i in range(3)]
  scores = score(hypotheses, method=Method(by=("speaker",)))
  page, figures = write(tmp_path, hypotheses, scores=scores)
  assert "2 more, in the JSON" in page.inside("tbody")
  assert len(figures["wer_by_speaker"]) == 3


def test_the_json_names_the_method_and_the_means(tmp_path):
  _, figures = write(tmp_path)
  method = figures["method"]
  assert (method["alignment"], method["seed"], method["replicates"]) == ("levenshtein", 0, 1000)
  assert method["blocks"] == {"clip": 3}
  assert {"maxtext_ext", "kaldialign", "whisper_normalizer"} <= method["versions"].keys()
  assert figures["wer_macro"] == (4 / 10 + 0.0) / 2
  assert figures["quality"]["utterances"] == 3


def test_several_sources_are_all_named(tmp_path):
  sources = [
    Decoded(run="r", split=split, checkpoint="base", normalizer="basic", max_new_tokens=8)
    for split in ("dev", "test")
  ]
  page, figures = write(tmp_path, source=sources)
  head = " ".join(page.inside("header"))
  assert "Split dev ," in head and "Split test ," in head
  assert [each["split"] for each in figures["sources"]] == ["dev", "test"]


def test_what_is_not_known_is_not_shown_as_nothing(tmp_path):
  page, _ = write(tmp_path, [utterance("a", "", "")])
  head = " ".join(page.inside("header"))
  assert "1 clip, 0 reference words" in " ".join(head.split())
  assert "of audio" not in head
  assert "n/a" in page.inside("td") and "0.00%" not in page.inside("td")
  assert "| n/a | n/a | 0 | 0 | 0 | n/a |" in (tmp_path / "report.md").read_text()


def test_few_evaluations_are_marked_with_their_steps(tmp_path):
  rates = TrainingCurves(wer=[(1200, 0.5), (2400, 0.4), (3000, 0.3)])
  page, _ = write(tmp_path, curves=rates)
  assert {"1,200", "2,400", "3,000"} <= set(page.inside("svg", "text"))
  dots = [a for tag, a in page.elements if tag == "circle" and a.get("class") == "dot wer"]
  assert len(dots) == 3
