"""English normalisers: Whisper's own, and one that also keeps signs, units and decimals apart."""

import functools
import re
from collections.abc import Callable

from maxtext_ext.text.normalize.english_rules import EnglishNormalizer, Rules

_DOTS = re.compile(r"\u2026|\.{2,}")
# A sign stands before a number and behind no word: "-5", "(+$3", not "1990-95" or "well-5".
_SIGN = re.compile(r"(?<![^\s(\"'\u2018\u201c])([-+\u2212])(?=[$€£¢]?\.?\d)")
_SIGN_WORDS = {"minus": "-", "negative": "-", "plus": "+", "positive": "+"}
_SIGNED = re.compile(rf"\b({'|'.join(_SIGN_WORDS)}) (?=[$€£¢]?\d)")
_WITH_CENTS = re.compile(r"([€£$])(\d+) (?:and )?¢(\d{1,2})\b")
_CENTS_ALONE = re.compile(r"([€$])0\.(\d{2})\b")
_ONE = re.compile(r"(?<!\S)1(s?)(?!\S)")


def normalize(text: str) -> str:
  """Basic, and spelled-out numbers as digits, contractions opened, American spelling, no fillers.

  Whisper's normaliser (`normalize_whisper`; both meet its 60 published cases) without what makes
  different things equal there, or equal things different: "$2.1" is not "$21", "minus five dollars"
  and "-$5" are not "$5", "1%" is not "one", "five %" is "5%", "£0.50" is no cents, and the dot of
  an ellipsis is no word.
  """
  text = _SIGN.sub(lambda sign: "plus " if sign[1] == "+" else "minus ", _DOTS.sub(" ", text))
  return _distinct()(text.replace("%", " percent "))


def normalize_whisper(text: str) -> str:
  """Whisper's English normaliser as published: that of its paper, and of reports that name it.

  Appendix C of the Whisper paper (https://cdn.openai.com/papers/whisper.pdf). The Open ASR
  Leaderboard began with it and has since added rules of its own (`open_asr`).
  """
  return _whisper()(text)


@functools.cache
def _whisper() -> Callable[[str], str]:
  from whisper_normalizer.english import EnglishTextNormalizer  # not when only its name is needed

  return EnglishNormalizer(Rules.of(EnglishTextNormalizer()))


@functools.cache
def _distinct() -> Callable[[str], str]:
  from whisper_normalizer.english import EnglishNumberNormalizer, EnglishTextNormalizer

  class Numbers(EnglishNumberNormalizer):
    """Whisper's numbers, with signs that a currency does not replace."""

    def __init__(self) -> None:
      super().__init__()
      self.words -= self.preceding_prefixers.keys()  # signs are words until the end
      self.preceding_prefixers: dict[str, str] = {}

    def postprocess(self, s: str) -> str:
      s = _WITH_CENTS.sub(lambda money: f"{money[1]}{money[2]}.{int(money[3]):02d}", s)
      s = _CENTS_ALONE.sub(lambda money: f"¢{int(money[2])}", s)
      s = _SIGNED.sub(lambda sign: _SIGN_WORDS[sign[1]], s)
      return _ONE.sub(r"one\1", s)

  return EnglishNormalizer(Rules.of(EnglishTextNormalizer(), numbers=Numbers()))
