"""Units of the mixed error rate: words, and single characters of scripts without spaces."""

import re

# Chinese and Japanese: radicals, iteration marks and zero, kana, bopomofo, ideographs.
_CHARACTERS = (
  "\u2e80-\u2fd5\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff"
  "\u3105-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
  "\U0001aff0-\U0001b16f\U00020000-\U0003fffd"
)
_CHARACTER = re.compile(f"[{_CHARACTERS}]")
_UNIT = re.compile(rf"[{_CHARACTERS}]|[^\s{_CHARACTERS}]+")
_WORD = re.compile(rf"[{_CHARACTERS}](?:[^\w\s])*|[^\s{_CHARACTERS}]+")


def has_characters(text: str) -> bool:
  """Returns whether a text has a Chinese or Japanese character, so that its units differ."""
  return _CHARACTER.search(text) is not None


def split_units(text: str) -> list[str]:
  """Splits a text at spaces and round every Chinese or Japanese character.

  As usual for Mandarin with English (the SEAME corpus). Korean is written with spaces and keeps its
  words.

  >>> split_units("我想 buy 一杯coffee")
  ['我', '想', 'buy', '一', '杯', 'coffee']
  """
  return _UNIT.findall(text)


def word_spans(text: str) -> list[tuple[int, int]]:
  """Returns start and end of each unit of a text, with the punctuation behind a character.

  >>> word_spans("一杯，please!")
  [(0, 1), (1, 3), (3, 10)]
  """
  return [match.span() for match in _WORD.finditer(text)]
