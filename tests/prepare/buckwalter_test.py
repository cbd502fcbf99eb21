import unicodedata

import pytest

from maxtext_ext.prepare.buckwalter import to_arabic


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("waraj~aHa", "ورجح"),
    ("Alt~aqoriyru", "التقرير"),
    (">aboHaA^i", "أبحاث"),
    (">abHAv", "أبحاث"),
    ("h`*A", "هذا"),
    ("{somN", "اسم"),
    ("<irotifaAE", "إرتفاع"),
    ("ma$osap, na'am?", "مشسة، نءم؟"),
    ("", ""),
    ("2 - 3", "2 - 3"),
    ("ورجح", "ورجح"),
  ],
)
def test_words(text, expected):
  assert to_arabic(text) == expected


def test_letters_are_letters_and_vowels_leave_nothing():
  assert all(unicodedata.category(to_arabic(letter)) == "Lo" for letter in "'|>&<}AbptvjHxd*rzs$S")
  assert to_arabic("FNKaui~o`_") == ""
