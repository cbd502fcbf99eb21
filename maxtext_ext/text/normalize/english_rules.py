"""Steps of Whisper's English normaliser, for sets of rules that differ from its own."""

import dataclasses
import functools
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, Self

from maxtext_ext.text.normalize.basic import BRACKETED, PARENTHESISED, collapse_spaces

_KEPT = ".%$¢€£"  # may belong to a number
_COMMA_IN_NUMBER = re.compile(r"(\d),(\d)")
_POINT_OUTSIDE_NUMBER = re.compile(r"\.([^0-9]|$)")
_SYMBOL_BEFORE_NO_NUMBER = re.compile(r"[.$¢€£]([^0-9])")
_PERCENT_AFTER_NO_NUMBER = re.compile(r"([^0-9])%")
_SPACES_BEFORE_APOSTROPHE = re.compile(r"\s+'")
_DIGIT = re.compile(r"\d")
# Python converts no integers of more than 4,300 digits, and a looping model writes them.
_LONG_NUMBER = re.compile(r"\d{1000}(?=\d)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
  """Replacements of an English normaliser, in the order of its steps.

  Attributes:
    fillers: pattern of the words that are left out.
    contractions: pattern and replacement each, applied in their order. Patterns without an
      apostrophe are whole words and stand before those that cut a word.
    compounds: the same, once symbols are gone.
    numbers: writes spelled-out numbers as digits.
    number_words: words without which, and without digits, `numbers` changes nothing.
    spellings: a word for another, applied after numbers.
    last: steps on the words at the end.
  """

  fillers: str
  contractions: Mapping[str, str]
  compounds: Mapping[str, str] = dataclasses.field(default_factory=dict)
  numbers: Callable[[str], str]
  number_words: frozenset[str]
  spellings: Mapping[str, str]
  last: tuple[Callable[[list[str]], list[str]], ...] = ()

  @classmethod
  def of(cls, whisper: Any, **changes: Any) -> Self:
    """Takes the rules of whisper_normalizer's EnglishTextNormalizer, but for these."""
    rules = {
      "fillers": whisper.ignore_patterns,
      "contractions": whisper.replacers,
      "numbers": whisper.standardize_numbers,
      "spellings": whisper.standardize_spellings.mapping,
    } | changes
    # "and" is kept where no number follows; "and a half" is a number.
    words = (rules["numbers"].words - {"and"}) | {"half"}
    return cls(number_words=frozenset(words), **rules)


class EnglishNormalizer:
  """Whisper's steps with any rules; equal to whisper_normalizer's with its own, in half the time.

  Most sentences have no title, digit or bracket: steps that cannot change a text are left out.
  """

  def __init__(self, rules: Rules) -> None:
    self._rules = rules
    self._fillers = re.compile(rules.fillers)
    contractions = [(re.compile(pattern), text) for pattern, text in rules.contractions.items()]
    self._contractions = contractions
    self._cut = [pair for pair in contractions if "'" in pair[0].pattern]
    self._whole = [pair for pair in contractions if "'" not in pair[0].pattern]
    self._any_whole = re.compile("|".join(pattern.pattern for pattern, _ in self._whole))
    self._compounds = [(re.compile(pattern), text) for pattern, text in rules.compounds.items()]

  def __call__(self, text: str) -> str:
    """Normalises a text to words and single spaces."""
    text = PARENTHESISED.sub("", BRACKETED.sub("", text.lower()))
    text = self._expand(self._fillers.sub("", text))
    text = _POINT_OUTSIDE_NUMBER.sub(r" \1", _COMMA_IN_NUMBER.sub(r"\1\2", text))
    text = unicodedata.normalize("NFKD", text).translate(_symbols_to_spaces())
    text = _replace(text, self._compounds)
    words = self._standardize(text)
    for step in self._rules.last:
      words = step(words)
    text = _SYMBOL_BEFORE_NO_NUMBER.sub(r" \1", " ".join(words))
    return collapse_spaces(_PERCENT_AFTER_NO_NUMBER.sub(r"\1 ", text))

  def _expand(self, text: str) -> str:
    has_whole = self._any_whole.search(text) is not None
    if "'" not in text:
      return _replace(text, self._whole) if has_whole else text
    text = _SPACES_BEFORE_APOSTROPHE.sub("'", text)
    return _replace(text, self._contractions if has_whole else self._cut)

  def _standardize(self, text: str) -> list[str]:
    words = text.split()
    if not self._rules.number_words.isdisjoint(words) or _DIGIT.search(text):
      words = self._rules.numbers(_LONG_NUMBER.sub(r"\g<0> ", text)).split()
    return [self._rules.spellings.get(word, word) for word in words]


def _replace(text: str, pairs: list[tuple[re.Pattern[str], str]]) -> str:
  for pattern, replacement in pairs:
    text = pattern.sub(replacement, text)
  return text


@functools.cache
def _symbols_to_spaces() -> dict[int, str]:
  from whisper_normalizer.basic import remove_symbols_and_diacritics  # not for its name alone

  class Table(dict[int, str]):
    """A str.translate table, filled as characters are met."""

    def __missing__(self, code: int) -> str:
      # Decomposed already, and a character by itself: NFKD changes nothing any more.
      self[code] = remove_symbols_and_diacritics(chr(code), keep=_KEPT)
      return self[code]

  return Table()
