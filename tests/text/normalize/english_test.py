"""Whisper's English normaliser, once and until nothing changes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whisper_normalizer.english import EnglishTextNormalizer

from maxtext_ext.decode.writer import Hypothesis
from maxtext_ext.evaluate.wer import score
from maxtext_ext.text.normalize import english, get_normalizer

WHISPER = EnglishTextNormalizer()
NUMBERS = "zero oh one two seventh twenty hundred thousand million point half dollars cents percent"
WORDS = [*NUMBERS.split(), "minus", "mr", "col", "st", "don't", "gonna", "colour", "uh", "'s been"]
PIECES = [*WORDS, *" .,%$¢£€'-+()[]0157", " ", " ", "...", "8.1%.", "1/2", "é", "ﬁ", "½"]
english_text = st.lists(st.sampled_from(PIECES), max_size=12)
any_text = english_text.map(" ".join) | english_text.map("".join) | st.text(max_size=30)

SENTENCES = [
  "Mr. Brown didn't pay twenty-five dollars, did he?",
  "HE HOPED THERE WOULD BE STEW FOR DINNER TURNIPS AND CARROTS",
  "she had your dark suit in greasy wash water all year",
  "Good morning, everyone, and welcome to the second quarter twenty twenty conference call.",
  "Revenue grew 12% year over year to $4.5 billion, or one hundred and three million euros.",
  "Um, so the, uh, the thing is -- we can't, you know, say that.",
  "It's been ten years since I'd've been gone.",
  "The colour of the harbour at No. 5, St. James's Street",
  "On July 4th, 1776, fifty-six men signed it.",
  "Call me at five five five, one two one two.",
  "[laughter] Well (coughs) okay <unk>",
  "naïve café, façade",
  "three and a half percent of two thirds",
  "Well... let's see.",
  "the nineteen eighties, the 1980s and the '80s",
  "Dr. Smith vs. Prof. Jones, Jr., at 3:30 p.m.",
  "",
]


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("Mr. Brown didn't pay twenty-five dollars", "mister brown did not pay $25"),
    ("Um, the colour, uh, grey", "the color gray"),
    ("café", "cafe"),
    ("", ""),
  ],
)
@pytest.mark.parametrize("name", ["english", "english_leaderboard"])
def test_english(name: str, text: str, expected: str) -> None:
  assert get_normalizer(name)(text) == expected


@pytest.mark.parametrize(
  ("text", "once", "expected"),
  [
    ("Well… yes.", "well . yes", "well yes"),
    ("oh seven", "07", "7"),
    ("up by 8.1%.", "up by 8 one", "up by 81"),
    ("minus eighteen", "-18", "18"),
  ],
)
def test_one_pass_leaves_these_half_done(text: str, once: str, expected: str) -> None:
  assert english.normalize_once(text) == once == " ".join(WHISPER(text).split())
  assert english.normalize(text) == expected


@pytest.mark.parametrize("text", SENTENCES)
def test_equals_whisper_normalizer_on_usual_sentences(text: str) -> None:
  assert english.normalize(text) == english.normalize_once(text) == " ".join(WHISPER(text).split())


def test_error_rates_of_usual_sentences_are_those_of_the_leaderboard() -> None:
  said = [text for text in SENTENCES if text]
  heard = [text.lower().replace("the", "a").replace(",", "") for text in said]
  hypotheses = [
    Hypothesis(id=str(number), reference=reference, hypothesis=hypothesis)
    for number, (reference, hypothesis) in enumerate(zip(said, heard, strict=True))
  ]
  stable, published = (score(hypotheses, name) for name in ("english", "english_leaderboard"))
  assert stable.overall.words == published.overall.words
  assert stable.overall.words.rate > 0.02


@settings(max_examples=300)
@given(text=any_text)
def test_the_leaderboards_is_whispers_own(text: str) -> None:
  assert english.normalize_once(text) == " ".join(WHISPER(text).split())


@settings(max_examples=300)
@given(text=any_text)
def test_idempotent(text: str) -> None:
  once = english.normalize(text)
  assert english.normalize(once) == once
