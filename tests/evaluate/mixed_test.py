import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.evaluate.mixed import has_characters, split_units


@pytest.mark.parametrize(
  ("text", "units"),
  [
    ("", []),
    ("two words", ["two", "words"]),
    ("שלום עולם", ["שלום", "עולם"]),
    ("我想 buy 一杯coffee好", ["我", "想", "buy", "一", "杯", "coffee", "好"]),
    ("ラーメン を食べる", ["ラ", "ー", "メ", "ン", "を", "食", "べ", "る"]),
    ("한국어 단어", ["한국어", "단어"]),  # Korean has spaces
    ("人々 〇 ㄅ 𠀋 豈 ｶﾅ", ["人", "々", "〇", "ㄅ", "𠀋", "豈", "ｶ", "ﾅ"]),
    ("a。b", ["a。b"]),  # punctuation is the normaliser's matter
  ],
)
def test_words_and_characters(text, units):
  assert split_units(text) == units
  assert has_characters(text) == any(len(unit) == 1 and unit > "\u2e00" for unit in units)


@given(text=st.text())
def test_no_text_is_lost(text):
  assert "".join(split_units(text)) == "".join(text.split())
  if not has_characters(text):
    assert split_units(text) == text.split()
