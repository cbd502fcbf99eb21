"""Joining of the texts of successive pieces."""

import unicodedata
from collections.abc import Iterable

# Scripts written without spaces between words, by the first word of a character's Unicode name.
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "IDEOGRAPHIC")


def join_texts(texts: Iterable[str]) -> str:
  """Joins texts with spaces, without one between two characters of scripts that have none.

  ["a b", "", "c"] -> "a b c"
  """
  joined = ""
  for text in texts:
    if joined and text and not (_is_unspaced(joined[-1]) and _is_unspaced(text[0])):
      joined += " "
    joined += text
  return joined


def _is_unspaced(character: str) -> bool:
  return unicodedata.name(character, "").startswith(_UNSPACED)
