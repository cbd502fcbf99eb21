"""Cleaning of text to train on, for any language."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxtext_ext.text.normalize import basic
from maxtext_ext.text.normalize.training import clean_training_text

PIECES = [
  "<|0.00|>",
  "<|",
  "|>",
  "1.2",
  *".,!?;:…،؛؟-–—־'\" \n",
  "a",
  "B",
  "e\u0301",
  "שָ",
  "مَ",
  "क्\u200dष",
]
PIECES += ["\u200b", "\u200f", "\u202a", "\u2067", "\ufeff", "\u200c"]
any_text = st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(max_size=30)


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("<|0.00|> Well...  yes!!<|1.20|>", "Well. yes!"),
    ("مرحبا،، كيف الحال؟؟", "مرحبا، كيف الحال؟"),
    ("السَّلامُ عليكم", "السَّلامُ عليكم"),  # vowel signs are the source's own
    ("mi\u0301o", "m\u00edo"),
    ("نمی\u200cخواهم क्\u200dष", "نمی\u200cخواهم क्\u200dष"),  # spelled with joiners
    ("\u202ba\u200fb\u202c", "ab"),
    ("<|en|><|0.0|>x", "<|en|> x"),
    ("5 < 6 |> 4", "5 < 6 |> 4"),
  ],
)
def test_clean_training_text(text: str, expected: str) -> None:
  assert clean_training_text(text) == expected


@settings(max_examples=400)
@given(text=any_text)
def test_idempotent_composed_and_single_spaced(text: str) -> None:
  once = clean_training_text(text)
  assert clean_training_text(once) == once == basic.collapse_spaces(once)
  assert unicodedata.is_normalized("NFC", once)
