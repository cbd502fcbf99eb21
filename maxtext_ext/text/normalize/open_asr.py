"""Normalisers of the Open ASR Leaderboard, as of August 2026: English, and five other languages.

Facts from its repository, huggingface/open_asr_leaderboard, folder `normalizer`.
"""

import functools
import pathlib
import re
from collections.abc import Callable

from maxtext_ext.text.normalize.basic import collapse_spaces
from maxtext_ext.text.normalize.english_rules import EnglishNormalizer, Rules

# Languages other than English, by code.
LANGUAGES = {"de": "German", "es": "Spanish", "fr": "French", "it": "Italian", "pt": "Portuguese"}

_FILLERS = "hmm mm mhm mmm uh um ah aha ahh ahm eh ehehe em hm huh hum mhum uhm umm uhuh"
# Contractions of whisper_normalizer that the board leaves as they are.
_NO_CONTRACTIONS = ("kinda", "sorta", "dunno", "cause")
_IS = r"\b(it|he|she|what|that|who|here|there|how|when|where|why|this)'s\b"
# Two words that are written as one, once hyphens are gone; None: joined.
_COMPOUNDS: dict[str, str | None] = {
  "et cetera": "etc",
  "al right": "alright",
  "all right": "alright",
  "how ever": "however",
  **dict.fromkeys(("wi fi", "hi fi", "lo fi", "sci fi", "e mail", "e book", "e commerce")),
  **dict.fromkeys(("x ray", "t shirt", "a m", "p m")),
  "o k": "okay",
}
# Spellings besides those of whisper_normalizer, and those that it has and the board has not.
_SPELLINGS = {
  "ok": "okay",
  "kay": "okay",
  "etcetera": "etc",
  "archaeology": "archeology",
  "archaeological": "archeological",
  "cancellation": "cancelation",
  "cancellations": "cancelations",
  "flyer": "flier",
  "mm": "hmm",
  "pummelled": "pummeled",
  "pummelling": "pummeling",
  "snowploughs": "snowplows",
  "travelogue": "travelog",
  "travelogues": "travelogs",
}
_NO_SPELLINGS = ("archeological", "cancelation", "cancelations", "travelog", "travelogs")
# Rows of a name and its variants.
_NAMES = pathlib.Path(__file__).with_name("open_asr_names.tsv")
_ARTICLE_OR_PRONOUN = {"a", "i"}

_NO_WORD = re.compile(r"[^\w\s]")
_THOUSANDS = re.compile(r"(\d)\s+(\d{3})\b")
_DIGITS = re.compile(r"\d+")


def normalize_english(text: str) -> str:
  """Normalises English as the board: Whisper's steps with rules of its own.

  More fillers, fewer contractions, two-word compounds and variants of first names as one, letters
  apart joined to acronyms.
  """
  return _english()(text)


@functools.cache
def _english() -> EnglishNormalizer:
  from whisper_normalizer.english import EnglishTextNormalizer  # not when only its name is needed

  whisper = EnglishTextNormalizer()
  dropped = {rf"\b{word}\b" for word in _NO_CONTRACTIONS}
  contractions = {
    _IS if pattern == r"'s\b" else pattern: r"\1 is" if pattern == r"'s\b" else replacement
    for pattern, replacement in whisper.replacers.items()
    if pattern not in dropped
  }
  compounds = {
    r"\b" + r"\s+".join(words.split()) + r"\b": one or words.replace(" ", "")
    for words, one in _COMPOUNDS.items()
  }
  spellings = {
    word: spelling
    for word, spelling in whisper.standardize_spellings.mapping.items()
    if word not in _NO_SPELLINGS
  }
  rows = (row.split("\t") for row in _NAMES.read_text("utf-8").splitlines())
  names = {variant: name for name, variants in rows for variant in variants.split()}
  return EnglishNormalizer(
    Rules.of(
      whisper,
      fillers=rf"\b({_FILLERS.replace(' ', '|')})\b",
      contractions=contractions,
      compounds=compounds,
      spellings=spellings | _SPELLINGS,
      last=(lambda words: [names.get(word, word) for word in words], join_acronyms),
    )
  )


def join_acronyms(words: list[str]) -> list[str]:
  """Joins runs of single letters and digits: three with "a" or "i" among them, else two.

  >>> join_acronyms("the b b c sent a 5 g".split())
  ['the', 'bbc', 'sent', 'a', '5', 'g']
  """
  joined: list[str] = []
  run: list[str] = []
  for word in [*words, ""]:
    if len(word) == 1 and word.isalnum():
      run.append(word)
      continue
    least = 3 if _ARTICLE_OR_PRONOUN.intersection(run) else 2
    joined += ["".join(run)] if len(run) >= least else run
    joined += [word] if word else []
    run = []
  return joined


def normalizer_of(code: str) -> Callable[[str], str]:
  """Returns the normaliser of one of LANGUAGES: Whisper Basic, and digits as words."""
  return functools.partial(_normalize, code)


def _normalize(code: str, text: str) -> str:
  text = collapse_spaces(_NO_WORD.sub("", _basic()(text)))
  text = _THOUSANDS.sub(r"\1\2", text)
  return _DIGITS.sub(lambda digits: _spell(code, digits[0]), text)


@functools.cache
def _basic() -> Callable[[str], str]:
  from whisper_normalizer.basic import BasicTextNormalizer

  return BasicTextNormalizer()


@functools.lru_cache(maxsize=4096)
def _spell(code: str, digits: str) -> str:
  import num2words

  try:
    return str(num2words.num2words(int(digits), lang=code))
  except (ValueError, OverflowError, NotImplementedError):  # too many digits, for Python or itself
    return digits
