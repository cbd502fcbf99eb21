import math

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.evaluate.hypotheses import (
  Hypothesis,
  HypothesisWriter,
  read_hypotheses,
  shard_path,
)
from maxtext_ext.evaluate.wer import UNSPECIFIED, Method, score

SENTENCES = st.lists(st.sampled_from(["a", "Bb,", "ccc", "שלום"]), max_size=6).map(" ".join)


@st.composite
def corpora(draw: st.DrawFn) -> list[Hypothesis]:
  pairs = draw(st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=8))
  return [
    Hypothesis(
      id=str(index),
      dataset=draw(st.sampled_from(["", "x", "y"])),
      language=draw(st.sampled_from([None, "English", "Hebrew"])),
      duration=draw(st.floats(0, 30)),
      reference=reference,
      hypothesis=hypothesis,
    )
    for index, (reference, hypothesis) in enumerate(pairs)
  ]


def make(*pairs: tuple[str, str], **fields: object) -> list[Hypothesis]:
  return [
    Hypothesis(**{"id": str(i), "reference": r, "hypothesis": h} | fields)
    for i, (r, h) in enumerate(pairs)
  ]


def test_rates_are_totals_over_totals():
  # Per utterance: 1/1 and 0/4 words. The mean of rates would be 0.5.
  scores = score(make(("yes", "no"), ("one two three four", "one two three four")))
  assert scores.wer == 1 / 5
  # Characters with the spaces between words: "yes" -> "no" has 3 edits; 18 are right.
  assert scores.cer == 3 / 21
  assert scores.overall.words.substitutions == 1
  assert scores.word_edits_U.tolist() == [1, 0]


def test_counts_apart():
  words = score(make(("the cat sat on the mat", "cat sit on the the mat"))).overall.words
  assert (words.hits, words.substitutions, words.deletions, words.insertions) == (4, 1, 1, 1)
  assert (words.edits, words.units, words.rate) == (3, 6, 0.5)


def test_normalizer_is_applied_to_both_sides_and_named():
  hypotheses = make(("Twenty-five colours!", "25 COLORS"))
  assert score(hypotheses, "none").wer == 1.0
  assert score(hypotheses, "english").wer == 0.0
  assert score(hypotheses, "english").normalizer == "english"
  assert hypotheses[0].reference == "Twenty-five colours!"


def test_groups():
  hypotheses = [
    Hypothesis(
      id="1", dataset="x", language="Hebrew", duration=2.0, reference="א ב", hypothesis="א"
    ),
    Hypothesis(
      id="2", dataset="x", language="English", duration=1.0, reference="a", hypothesis="a"
    ),
    Hypothesis(id="3", duration=0.5, reference="a b", hypothesis="c d"),
  ]
  scores = score(hypotheses)
  assert {k: v.wer for k, v in scores.by_language.items()} == {
    "English": 0.0,
    "Hebrew": 0.5,
    UNSPECIFIED: 1.0,
  }
  assert {k: v.wer for k, v in scores.by_dataset.items()} == {UNSPECIFIED: 1.0, "x": 1 / 3}
  assert scores.by_dataset["x"].seconds == 3.0
  assert scores.wer == 3 / 5


def test_any_field_and_the_duration_make_groups():
  hypotheses = [
    *make(("a b", "a"), ("a b", "a b"), duration=3.0, extra={"noise": "car"}),
    Hypothesis(id="3", duration=12.0, reference="a", hypothesis="a b"),
  ]
  scores = score(hypotheses, method=Method(by=("noise",)))
  assert {k: v.wer for k, v in scores.groups["noise"].items()} == {"car": 0.25, UNSPECIFIED: 1.0}
  durations = {k: v.utterances for k, v in scores.groups["duration"].items()}
  assert durations == {"under 5 s": 2, "10 to 20 s": 1}
  with pytest.raises(ValueError, match="no hypothesis has a field 'snr'"):
    score(hypotheses, method=Method(by=("snr",)))


def test_macro_averages_count_every_group_alike():
  hypotheses = [
    *make(*[("a b", "a b")] * 9, dataset="large"),
    *make(("a b", "a"), dataset="small"),
    *make(("", "a"), dataset="noise"),  # which has no rate
  ]
  scores = score(hypotheses)
  assert scores.wer == 2 / 20
  assert scores.macro() == (0.0 + 0.5) / 2
  assert math.isnan(score(make(("", "a"))).macro())


def test_the_mixed_error_rate_counts_characters_of_scripts_without_spaces():
  scores = score(make(("我想 buy 一杯", "我要 buy 杯"), ("two words", "two words")), "none")
  mixed = scores.overall.mixed
  assert (mixed.hits, mixed.substitutions, mixed.deletions, mixed.insertions) == (5, 1, 1, 0)
  assert (scores.overall.words.edits, scores.wer) == (2, 2 / 5)
  assert scores.overall.mer == 2 / 7
  assert scores.has_characters
  plain = score(make(("two words", "two")))
  assert plain.overall.mixed == plain.overall.words
  assert not plain.has_characters


def test_words_are_counted_by_the_alignment_that_is_asked_for():
  hypotheses = make(("a a a b b", "b b c c a"), ("white paper", "whitepaper"))
  edits = {
    name: score(hypotheses, method=Method(alignment=name)).overall.words.edits
    for name in ("levenshtein", "compounds", "sclite")
  }
  assert edits == {"levenshtein": 5 + 2, "compounds": 5 + 0, "sclite": 6 + 2}


def test_intervals_are_of_blocks():
  # Ten speakers of ten clips each, all right or all wrong.
  hypotheses = [
    Hypothesis(
      id=str(clip),
      reference="a b",
      hypothesis="" if clip < 30 else "a b",
      extra={"speaker": clip // 10},
    )
    for clip in range(100)
  ]
  by_speaker, by_clip = (
    score(hypotheses, method=Method(block=block)).overall for block in ("auto", "clip")
  )
  assert (by_speaker.blocks, by_clip.blocks) == (10, 100)
  narrow, wide = (rate.words.interval[1] - rate.words.interval[0] for rate in (by_clip, by_speaker))
  assert wide > 2 * narrow
  assert by_speaker.words.rate == by_clip.words.rate == 0.3


def test_empty_reference_counts_insertions_and_is_counted():
  scores = score(make(("", "thank you"), ("...", ""), ("one two", "one two")))
  assert scores.overall.empty_references == 2
  assert scores.overall.empty_hypotheses == 1
  assert scores.overall.words.insertions == 2
  assert scores.wer == 1.0  # 2 insertions over 2 reference words


@pytest.mark.parametrize(("hypothesis", "rate"), [("", 0.0), ("noise", math.inf)])
def test_only_empty_references(hypothesis, rate):
  scores = score(make(("", hypothesis), ("", hypothesis)))
  assert scores.wer == scores.cer == rate
  assert scores.overall.words.interval is None


def test_interval_holds_the_rate_and_repeats():
  hypotheses = make(*[("one two three", "one two three" if i % 3 else "one") for i in range(60)])
  words = score(hypotheses).overall.words
  assert words.interval[0] < words.rate < words.interval[1]
  assert score(hypotheses).overall.words.interval == words.interval
  assert score(hypotheses, seed=1).overall.words.interval != words.interval


@pytest.mark.parametrize(
  ("reference", "hypothesis", "rate"),
  [("a b", "a", 0.5), ("a b", "a x", 0.5), ("a", "a b", 1.0), ("a b", "", 1.0), ("a", "", 1.0)],
)
def test_interval_of_utterances_that_are_all_alike_is_their_rate(reference, hypothesis, rate):
  scores = score(make(*[(reference, hypothesis)] * 3))
  assert scores.overall.words.interval == (rate, rate)
  assert scores.overall.empty_references == 0
  assert scores.overall.empty_hypotheses == (0 if hypothesis else 3)


@given(hypotheses=corpora())
def test_laws(hypotheses):
  scores = score(hypotheses, "none")
  for groups in (scores.by_dataset, scores.by_language, {"all": scores.overall}):
    assert sum(group.utterances for group in groups.values()) == len(hypotheses)
    for rate in ("words", "characters"):
      rates = [getattr(group, rate) for group in groups.values()]
      total = getattr(scores.overall, rate)
      for kind in ("hits", "substitutions", "deletions", "insertions", "units", "edits"):
        assert sum(getattr(rate, kind) for rate in rates) == getattr(total, kind)
  assert scores.overall.words.units == sum(len(h.reference.split()) for h in hypotheses)
  assert scores.overall.characters.units == sum(len(h.reference) for h in hypotheses)
  assert scores.word_edits_U.sum() == scores.overall.words.edits


@given(hypotheses=corpora())
def test_equals_jiwer(hypotheses):
  references = [h.reference for h in hypotheses if h.reference]
  if not references:
    return
  hypotheses = [h for h in hypotheses if h.reference]
  ours = score(hypotheses, "none")
  assert ours.wer == pytest.approx(jiwer.wer(references, [h.hypothesis for h in hypotheses]))
  assert ours.cer == pytest.approx(jiwer.cer(references, [h.hypothesis for h in hypotheses]))


@given(hypotheses=corpora())
def test_identical_texts_have_no_error(hypotheses):
  perfect = make(*[(h.reference, h.reference) for h in hypotheses])
  scores = score(perfect)
  assert scores.wer == scores.cer == 0.0
  assert scores.overall.words.interval in (None, (0.0, 0.0))


@given(hypotheses=corpora(), order=st.randoms(), shards=st.integers(1, 3))
def test_order_and_sharding_do_not_matter(tmp_path_factory, hypotheses, order, shards):
  directory = tmp_path_factory.mktemp("decoded")
  shuffled = order.sample(hypotheses, len(hypotheses))
  for shard in range(shards):
    with HypothesisWriter(shard_path(directory, shard, shards)) as writer:
      for hypothesis in shuffled[shard::shards]:
        writer.write(hypothesis)
  assert score(read_hypotheses(directory)) == score(hypotheses)


def test_nothing_to_score():
  with pytest.raises(ValueError, match="no hypotheses to score"):
    score([])


def test_unknown_normalizer():
  with pytest.raises(ValueError, match="unknown normalizer 'x'"):
    score(make(("a", "a")), "x")
