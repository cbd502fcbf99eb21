"""The words: written without marks, and spoken by espeak-ng in their own language."""

import itertools
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.demo import espeak
from maxtext_ext.demo.words import LEXICONS, spoken_arabic, spoken_hebrew, strip_marks

HEBREW_MARKS = "\u05b0\u05b6\u05b7\u05b8\u05bc\u05c1\u05c2"
ARABIC_MARKS = "\u064b\u064e\u064f\u0650\u0651\u0652"


@pytest.mark.parametrize(("language", "count"), [("English", 35), ("Arabic", 35), ("Hebrew", 34)])
def test_every_language_has_its_words_once(language: str, count: int) -> None:
  words = LEXICONS[language].words
  assert len(words) == count
  assert len({word.written for word in words}) == len({word.spoken for word in words}) == count


@pytest.mark.parametrize("language", LEXICONS)
def test_targets_are_the_spoken_letters_without_marks(language: str) -> None:
  for word in LEXICONS[language].words:
    assert word.written.isalpha()  # a combining mark is not a letter
    assert unicodedata.is_normalized("NFC", word.written)
    assert strip_marks(word.spoken) == word.written


@pytest.mark.parametrize("language", LEXICONS)
def test_espeak_says_every_word_alone_and_in_a_phrase(language: str) -> None:
  lexicon = LEXICONS[language]
  engine = espeak.engine()
  for voice in lexicon.voices:
    for word, following in itertools.pairwise((*lexicon.words, lexicon.words[0])):
      assert len(engine.phonemes(word.spoken, voice)) > 2
      engine.phonemes(f"{word.spoken} {following.spoken}", voice)


def test_hebrew_in_unicodes_order_would_be_spelled_in_english() -> None:
  canonical = unicodedata.normalize("NFC", "שָׁלוֹם")
  ordered = spoken_hebrew(canonical)
  assert ordered != canonical
  assert espeak.engine().phonemes(ordered, "he") == "ʃˈalom"
  with pytest.raises(ValueError, match="falls back to English"):
    espeak.engine().phonemes(canonical, "he")


@pytest.mark.parametrize(
  ("given_marks", "expected"),
  [
    ("\u05b8\u05bc\u05c1", "\u05c1\u05bc\u05b8"),  # canonical order: vowel, dagesh, dot
    ("\u05c2\u05b7", "\u05c2\u05b7"),
    ("\u05b7\u05bc", "\u05bc\u05b7"),
  ],
)
def test_order_of_hebrew_marks(given_marks: str, expected: str) -> None:
  assert spoken_hebrew(f"ש{given_marks}ל") == f"ש{expected}ל"


def test_arabic_shadda_precedes_the_vowel_and_hamza_stays_on_its_carrier() -> None:
  assert spoken_arabic("ت\u064e\u0651") == "ت\u0651\u064e"
  assert spoken_arabic("ا\u0654\u064e") == "أ\u064e"
  assert strip_marks("ا\u0654\u064eح\u0652") == "أح"


@given(text=st.text("שבגדת " + HEBREW_MARKS) | st.text("أبتثج " + ARABIC_MARKS))
def test_ordering_is_settled_and_keeps_the_letters(text: str) -> None:
  for order in (spoken_hebrew, spoken_arabic):
    ordered = order(text)
    assert order(ordered) == ordered
    assert strip_marks(ordered) == strip_marks(text)
