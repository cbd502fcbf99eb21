"""Hebrew: the normaliser of ivrit.ai's evaluations, and text to train on."""

import re
import unicodedata

from maxtext_ext.text.normalize import basic, training
from maxtext_ext.text.normalize.invisible import remove_invisible

GERESH, GERSHAYIM = "\u05f3", "\u05f4"
# Points and accents: U+0591 to U+05C7 without the punctuation in between, maqaf (U+05BE), paseq
# (U+05C0), sof pasuq (U+05C3) and nun hafukha (U+05C6).
_NIQQUD = re.compile("[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7]")
_ASCII_QUOTES = str.maketrans("", "", "\"'")
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


def clean_training_text(text: str) -> str:
  """Applies `training.clean_training_text`; removes niqqud and all zero-width characters.

  Punctuation, quotes and maqaf stay. Niqqud goes, because few transcripts have it: a model that
  sees both learns two spellings of one word.
  """
  return training.clean_training_text(remove_niqqud(text))
