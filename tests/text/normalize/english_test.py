"""Whisper's English normaliser, and the one that keeps different numbers apart."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whisper_normalizer.english import EnglishTextNormalizer

from maxtext_ext.text.normalize import english, get_normalizer

WHISPER = EnglishTextNormalizer()
NUMBERS = "zero oh one two seventh twenty hundred thousand million point half dollars cents percent"
WORDS = [*NUMBERS.split(), "minus", "mr", "col", "st", "don't", "gonna", "colour", "uh", "'s been"]
PIECES = [*WORDS, *" .,%$¢£€'-+()[]0157", " ", " ", "...", "8.1%.", "1/2", "é", "ﬁ", "½"]
english_text = st.lists(st.sampled_from(PIECES), max_size=12)
any_text = english_text.map(" ".join) | english_text.map("".join) | st.text(max_size=30)

# What openai/whisper's tests/test_normalizer.py expects.
WHISPERS_CASES = {
  "two": "2",
  "thirty one": "31",
  "five twenty four": "524",
  "nineteen ninety nine": "1999",
  "twenty nineteen": "2019",
  "two point five million": "2500000",
  "four point two billions": "4200000000s",
  "200 thousand": "200000",
  "200 thousand dollars": "$200000",
  "$20 million": "$20000000",
  "€52.4 million": "€52400000",
  "£77 thousands": "£77000s",
  "two double o eight": "2008",
  "three thousand twenty nine": "3029",
  "forty three thousand two hundred sixty": "43260",
  "forty three thousand two hundred and sixty": "43260",
  "nineteen fifties": "1950s",
  "thirty first": "31st",
  "thirty three thousand and three hundred and thirty third": "33333rd",
  "three billion": "3000000000",
  "millions": "1000000s",
  "july third twenty twenty": "july 3rd 2020",
  "august twenty sixth twenty twenty one": "august 26th 2021",
  "3 14": "3 14",
  "3.14": "3.14",
  "3 point 2": "3.2",
  "3 point 14": "3.14",
  "fourteen point 4": "14.4",
  "two point two five dollars": "$2.25",
  "two hundred million dollars": "$200000000",
  "$20.1 million": "$20100000",
  "ninety percent": "90%",
  "seventy six per cent": "76%",
  "double oh seven": "007",
  "double zero seven": "007",
  "nine one one": "911",
  "nine double one": "911",
  "one triple oh one": "10001",
  "two thousandth": "2000th",
  "thirty two thousandth": "32000th",
  "minus 500": "-500",
  "positive twenty thousand": "+20000",
  "two dollars and seventy cents": "$2.70",
  "3 cents": "¢3",
  "$0.36": "¢36",
  "three euros and sixty five cents": "€3.65",
  "three and a half million": "3500000",
  "forty eight and a half dollars": "$48.5",
  "b747": "b 747",
  "10 th": "10th",
  "10th": "10th",
  "mobilisation": "mobilization",
  "cancelation": "cancellation",
  "Let's": "let us",
  "he's like": "he is like",
  "she's been like": "she has been like",
  "10km": "10 km",
  "10mm": "10 mm",
  "RC232": "rc 232",
  "Mr. Park visited Assoc. Prof. Kim Jr.": "mister park visited associate professor kim junior",
}

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
@pytest.mark.parametrize("name", ["english", "english_whisper"])
def test_english(name: str, text: str, expected: str) -> None:
  assert get_normalizer(name)(text) == expected


@pytest.mark.parametrize("name", ["english", "english_whisper"])
def test_the_cases_of_whispers_own_test(name: str) -> None:
  normalize = get_normalizer(name)
  assert {text: normalize(text) for text in WHISPERS_CASES} == WHISPERS_CASES
  assert len(WHISPERS_CASES) == 60


@pytest.mark.parametrize(
  ("text", "other"),
  [
    ("2.1 dollars", "21 dollars"),
    ("up by 8.1%.", "up by 81%"),
    ("up by 8.1%.", "up by 8 one"),
    ("version 2.1.3", "version 2 one.3"),
    ("minus five", "five"),
    ("minus five dollars", "five dollars"),
    ("negative 2.5 million euros", "2.5 million euros"),
    ("it is -5 outside", "it is 5 outside"),
    ("-$3.50", "$3.50"),
    ("\u22120.5", "0.5"),
    ("+7", "7"),
    ("one percent", "one"),
    ("$1", "one"),
    ("$0.5", "$0.05"),
    ("£0.50", "$0.50"),
    ("3.5 %", "3.5"),
  ],
)
def test_what_differs_stays_different(text: str, other: str) -> None:
  assert english.normalize(text) != english.normalize(other)


@pytest.mark.parametrize(
  ("text", "other"),
  [
    ("2.1 dollars", "two point one dollars"),
    ("minus five", "-5"),
    ("negative five dollars", "-$5"),
    ("minus three and a half percent", "\u22123.5%"),
    ("1%", "one percent"),
    ("$1", "one dollar"),
    ("3.5 %", "3.5%"),
    ("plus one", "+1"),
    ("$0.05", "five cents"),
    ("Well\u2026 yes", "well yes"),
    ("well-5", "well 5"),
    ("1990-95", "1990 95"),
    ("20%-30%", "20% 30%"),
    ("c plus plus", "C plus plus!"),
  ],
)
def test_what_is_the_same_is_written_the_same(text: str, other: str) -> None:
  assert english.normalize(text) == english.normalize(other)


AMOUNTS = st.tuples(st.sampled_from(["", "-"]), st.integers(1, 30_000).map(lambda n: f"{n / 10:g}"))


@given(
  AMOUNTS, AMOUNTS, st.sampled_from(["{}{}", "{}{} dollars", "{}${}", "{}{}%", "up {}{}, then"])
)
def test_different_numbers_are_never_equal(
  one: tuple[str, str], other: tuple[str, str], sentence: str
) -> None:
  normal = {english.normalize(sentence.format(*amount)) for amount in (one, other)}
  assert len(normal) == len({one, other})


def test_a_number_without_end_is_normalised_too() -> None:
  for name in ("english", "english_whisper"):
    assert get_normalizer(name)("7" * 5000).replace(" ", "") == "7" * 5000


@pytest.mark.parametrize("text", SENTENCES)
def test_equals_whisper_normalizer_on_usual_sentences(text: str) -> None:
  assert (
    english.normalize(text) == english.normalize_whisper(text) == " ".join(WHISPER(text).split())
  )


@settings(max_examples=300)
@given(text=any_text)
def test_the_one_called_whispers_is_whispers_own(text: str) -> None:
  assert english.normalize_whisper(text) == " ".join(WHISPER(text).split())


@settings(max_examples=300)
@given(text=any_text)
def test_any_text_is_normalised(text: str) -> None:
  assert english.normalize(text) == english.normalize(f" {text} ")
