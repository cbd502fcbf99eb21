"""Laws of every normaliser of the registry."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxtext_ext.text.normalize import NORMALIZERS, get_normalizer

# Of every script that they know, with marks, digits, controls, and the words that rules ask for.
ALPHABET = st.sampled_from(
  [
    *"אבםת׳״־׃\u05b8\u05c1\u0591",
    *"اأإآءؤئةهوىيپڤـ،؟\u064e\u0651\u0654\u0670٠٩۰",
    *"aBz09 \n.,'\"-<[(|)]>%$+é\u0301ﬁ\u210c中क\u094dष",
    *"\u200f\u200b\u200d\u202b\u2067\ufeff",
    *(" و ", "one", "oh ", "...", "don't", "<|0.00|>"),
  ]
)
TEXTS = st.lists(ALPHABET, max_size=25).map("".join) | st.text(max_size=40)
# Whisper's numbers are not: "oh seven" is 07, and 07 is 7.
IDEMPOTENT = [name for name in NORMALIZERS if not name.startswith("english")]


@pytest.mark.parametrize("name", IDEMPOTENT)
@settings(max_examples=300)
@given(text=TEXTS)
def test_idempotent(name, text):
  once = NORMALIZERS[name](text)
  assert NORMALIZERS[name](once) == once


@pytest.mark.parametrize("name", NORMALIZERS)
@given(text=TEXTS)
def test_words_are_apart_by_single_spaces(name, text):
  normal = NORMALIZERS[name](text)
  assert normal == " ".join(normal.split())


def test_none_keeps_all_but_spaces():
  assert get_normalizer("none")("  Hello,\n World! ") == "Hello, World!"


def test_unknown_name_lists_the_known_ones():
  known = ", ".join(NORMALIZERS)
  with pytest.raises(ValueError, match=f"'klingon'; expected one of {known}"):
    get_normalizer("klingon")
