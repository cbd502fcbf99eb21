"""Normalisers of the Open ASR Leaderboard, held against texts that its own code normalised."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.text.normalize import BOARD_NORMALIZERS, get_normalizer
from maxtext_ext.text.normalize.open_asr import LANGUAGES, join_acronyms
from tests.golden.make_boards import FILE, board_texts

STORED = json.loads(FILE.read_text("utf-8"))["open_asr"]["texts"]
NAMES = {"english": "english_open_asr"} | {
  language.lower(): f"{language.lower()}_open_asr" for language in LANGUAGES.values()
}


@pytest.mark.parametrize("language", NAMES)
def test_equals_the_boards_own(language):
  normalize = get_normalizer(NAMES[language])
  texts = board_texts(language)
  assert dict(zip(texts, map(normalize, texts), strict=True)) == dict(
    zip(texts, STORED[language], strict=True)
  )


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("Uh, ehehe, the all right Wi-Fi", "the alright wifi"),
    ("Sara's he's kinda", "sarah s he is kinda"),
    ("the B.B.C. at 3 p.m.", "the bbc at 3 pm"),
    ("OK, Stephen MacDonald", "okay steven mcdonald"),
  ],
)
def test_rules_that_whispers_normaliser_has_not(text, expected):
  assert get_normalizer("english_open_asr")(text) == expected
  assert get_normalizer("english_whisper")(text) != expected


@pytest.mark.parametrize(
  ("words", "joined"),
  [
    ("b b c", "bbc"),
    ("a b", "a b"),
    ("a b c", "abc"),
    ("i a", "i a"),
    ("5 g and x", "5g and x"),
    ("a big cat", "a big cat"),
    ("% b", "% b"),
    ("", ""),
  ],
)
def test_letters_apart_become_acronyms(words, joined):
  assert join_acronyms(words.split()) == joined.split()


@pytest.mark.parametrize("name", BOARD_NORMALIZERS)
@given(text=st.text(max_size=40))
def test_any_text_is_normalised_to_words_and_single_spaces(name, text):
  normal = BOARD_NORMALIZERS[name](text)
  assert normal == " ".join(normal.split())


@pytest.mark.parametrize("name", BOARD_NORMALIZERS)
@pytest.mark.parametrize("digits", [30, 200, 2000, 5000])
def test_a_number_without_end_is_normalised_too(name, digits):
  assert get_normalizer(name)("7" * digits)
