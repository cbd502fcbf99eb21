from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.corpus.characters import (
  FLAGS,
  home_scripts,
  inventory,
  kind_of,
  mixed_words,
  script_of,
  text_flags,
  visible,
)


def flags(text: str) -> set[str]:
  return {name for bit, name in enumerate(FLAGS) if text_flags(text) >> bit & 1}


@pytest.mark.parametrize(
  ("character", "kind"),
  [
    *[(usual, "") for usual in "aZéאשלםعߐ我あ한-–'״׳־.,?!؟،"],
    ("\u05b8", ""),  # a Hebrew vowel sign
    ("\u0651", ""),  # an Arabic shadda
    (" ", ""),
    ("\u200c", ""),  # joins letters in Persian
    ("\ufffd", "undefined"),
    ("\ue000", "undefined"),  # private use
    ("\uffff", "undefined"),
    ("\ud800", "undefined"),
    ("\0", "control"),
    ("\n", "control"),
    ("\t", "control"),
    ("\u2028", "control"),
    ("\u200b", "invisible"),
    ("\u200e", "invisible"),
    ("\u202e", "invisible"),
    ("\u2066", "invisible"),
    ("\ufeff", "invisible"),
    ("\u00ad", "invisible"),
    ("\ufe0f", "invisible"),
    ("\u034f", "invisible"),
    ("\u00a0", "space"),
    ("\u3000", "space"),
    ("€", "symbol"),
    ("<", "symbol"),
    ("😀", "symbol"),
    ("7", "digit"),
    ("٣", "digit"),
    ("½", "digit"),
  ],
)
def test_kind_of(character, kind):
  assert kind_of(character) == kind


@pytest.mark.parametrize(
  ("character", "script"),
  [
    ("a", "LATIN"),
    ("É", "LATIN"),
    ("а", "CYRILLIC"),
    ("א", "HEBREW"),
    ("ع", "ARABIC"),
    ("گ", "ARABIC"),
    ("我", "CJK"),
    ("の", "CJK"),
    ("カ", "CJK"),
    ("한", "CJK"),
    ("ª", ""),
    ("µ", ""),
    ("1", ""),
    (" ", ""),
    ("\u05b8", ""),
  ],
)
def test_script_of(character, script):
  assert script_of(character) == script


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("hello there", set()),
    ("שלום לכולם, hello", set()),  # two scripts, but each in words of its own
    ("ב-WhatsApp", set()),
    ("東京タワーへ行く", set()),
    ("הWhatsApp", {"mixed"}),
    ("pаypal", {"mixed"}),  # with a Cyrillic а
    ("5 €\n", {"digit", "symbol", "control"}),
    ("a\u00a0b\u200fc\ufffd", {"space", "invisible", "undefined"}),
  ],
)
def test_text_flags(text, expected):
  assert flags(text) == expected


def test_mixed_words_in_order():
  assert mixed_words("ok הWhatsApp שלי pаypal") == ["הWhatsApp", "pаypal"]


@given(st.text())
def test_flags_are_those_of_the_characters(text):
  assert flags(text) - {"mixed"} == {kind_of(character) for character in text} - {""}
  assert ("mixed" in flags(text)) == bool(mixed_words(text))


@given(st.lists(st.tuples(st.sampled_from(["he", "en"]), st.text(max_size=20))))
def test_inventory_counts_every_character(texts):
  counts: dict[str, Counter[str]] = {}
  for language, text in texts:
    counts.setdefault(language, Counter()).update(text)
  lines = inventory(counts)
  everything = "".join(text for _, text in texts)
  assert {line.character: line.count for line in lines} == Counter(everything)
  for line in lines:
    assert set(line.languages) == {name for name, text in texts if line.character in text}


def test_inventory_begins_with_what_is_unusual():
  lines = inventory({"English": Counter("aaab\ufffd1\n")})
  assert [line.character for line in lines] == ["\ufffd", "\n", "1", "a", "b"]
  assert [line.kind for line in lines] == ["undefined", "control", "digit", "", ""]
  assert [line.code_point for line in lines] == ["U+FFFD", "U+000A", "U+0031", "U+0061", "U+0062"]
  assert lines[1].name == "line feed"
  assert lines[3].name == "latin small letter a"
  assert [line.visible for line in lines] == [True, False, True, True, True]


def test_home_scripts():
  assert home_scripts(Counter("א" * 99 + "a" + "1" * 500)) == {"HEBREW", "LATIN"}
  assert home_scripts(Counter("א" * 100 + "a")) == {"HEBREW"}
  assert home_scripts(Counter("123")) == set()


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("שלום a", "שלום a"),
    ("a\x1b[31mb", "a\\x1b[31mb"),
    ("a\u202eb\ud800", "a\\u202eb\\ud800"),
  ],
)
def test_visible(text, expected):
  assert visible(text) == expected
