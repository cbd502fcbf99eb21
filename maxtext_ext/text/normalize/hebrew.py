"""Hebrew: the normaliser of ivrit.ai's evaluations, and text to train on."""

import functools
import re
import unicodedata
from collections.abc import Callable

from maxtext_ext.text.normalize import basic, training
from maxtext_ext.text.normalize.invisible import remove_invisible

GERESH, GERSHAYIM = "\u05f3", "\u05f4"
# Points and accents: U+0591 to U+05C7 without the punctuation in between, maqaf (U+05BE), paseq
# (U+05C0), sof pasuq (U+05C3) and nun hafukha (U+05C6).
_NIQQUD = re.compile("[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7]")
_ASCII_QUOTES = str.maketrans("", "", "\"'")
# What ivrit.ai's evaluations delete before Whisper Basic: the points that the package `hebrew`
# 0.8.1 takes for niqqud, bidi controls and zero-width marks, ASCII quotes.
_IVRIT_MARKS = (
  *(*range(0x05B0, 0x05BD), 0x05C1, 0x05C2, 0x05C4, 0x05C5, 0x05C7),
  *(0x061C, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF),
)
_IVRIT = str.maketrans("", "", "".join(map(chr, _IVRIT_MARKS)) + "\"'")
_LETTER = "[\u05d0-\u05ea\u05ef-\u05f2]"
_MARK_OUTSIDE_WORD = re.compile(
  f"(?<!{_LETTER})[{GERESH}{GERSHAYIM}]|[{GERESH}{GERSHAYIM}](?!{_LETTER})"
)


def remove_niqqud(text: str) -> str:
  """The text in NFC without points, accents, bidi controls and zero-width characters."""
  # NFC takes the points out of presentation forms such as U+FB2A, shin with its dot.
  return _NIQQUD.sub("", unicodedata.normalize("NFC", remove_invisible(text)))


def normalize(text: str) -> str:
  """Basic without niqqud and ASCII quotes; geresh and gershayim stay between two Hebrew letters.

  The convention of ivrit.ai's evaluations (evaluate_model.py of ivrit-ai/asr-training), but for
  three things where Whisper Basic, as used there, cuts a word in two: gershayim, geresh and
  combining marks. The maqaf separates words. An acronym is one word whichever way it is typed, but
  its forms differ: with an ASCII quote it loses the mark, with gershayim it keeps it.
  """
  text = remove_niqqud(text).translate(_ASCII_QUOTES)
  text = basic.normalize(text, keep=GERESH + GERSHAYIM)
  return basic.collapse_spaces(_MARK_OUTSIDE_WORD.sub(" ", text))


def normalize_ivrit(text: str) -> str:
  """Normalises as ivrit.ai's evaluations do, to the letter (evaluate_model.py, November 2025).

  Gershayim and geresh, cantillation marks and letters with a combining mark cut a word in two.
  """
  return basic.collapse_spaces(_whisper_basic()(text.translate(_IVRIT)))


@functools.cache
def _whisper_basic() -> Callable[[str], str]:
  from whisper_normalizer.basic import BasicTextNormalizer  # not when only its name is needed

  return BasicTextNormalizer()


def clean_training_text(text: str) -> str:
  """Applies `training.clean_training_text`; removes niqqud and all zero-width characters.

  Punctuation, quotes and maqaf stay. Niqqud goes, because few transcripts have it: a model that
  sees both learns two spellings of one word.
  """
  return training.clean_training_text(remove_niqqud(text))
