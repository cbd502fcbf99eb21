"""Invisible characters of texts: bidi controls, zero-width marks."""

import unicodedata

JOINERS = "\u200c\u200d"  # zero-width non-joiner and joiner: spelling in Persian and Indic scripts
_RANGES = (
  (0x00AD, 0x00AD),  # soft hyphen
  (0x034F, 0x034F),  # combining grapheme joiner
  (0x061C, 0x061C),  # Arabic letter mark
  (0x180E, 0x180E),  # Mongolian vowel separator
  (0x200B, 0x200B),  # zero-width space
  (0x200E, 0x200F),  # left-to-right and right-to-left marks
  (0x202A, 0x202E),  # embeddings, overrides and their end
  (0x2060, 0x2064),  # word joiner, invisible operators
  (0x2066, 0x206F),  # isolates and their end, deprecated format characters
  (0xFE00, 0xFE0F),  # variation selectors
  (0xFEFF, 0xFEFF),  # byte order mark, zero-width no-break space
)
_BLANK_LETTERS = "\u115f\u1160\u3164\uffa0\u2800"  # fillers of Hangul, Braille without a dot
_BLANK_CATEGORIES = ("Cc", "Cf", "Zl", "Zp", "Zs")
_TABLE = {code: None for first, last in _RANGES for code in range(first, last + 1)}
_TABLE_WITH_JOINERS = _TABLE | dict.fromkeys(map(ord, JOINERS))


def remove_invisible(text: str, *, keep_joiners: bool = False) -> str:
  """Removes bidi controls and zero-width characters, and joins what they separated."""
  return text.translate(_TABLE if keep_joiners else _TABLE_WITH_JOINERS)


def is_blank(text: str) -> bool:
  """Returns whether a text has only spaces, control and invisible characters, or none."""
  return all(
    character.isspace()
    or character in _BLANK_LETTERS
    or ord(character) in _TABLE_WITH_JOINERS
    or unicodedata.category(character) in _BLANK_CATEGORIES
    for character in text
  )
