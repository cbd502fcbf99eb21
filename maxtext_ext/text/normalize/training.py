"""Cleaning of training texts: removes timestamps and invisible characters, keeps case and marks."""

import re
import unicodedata

from maxtext_ext.text.normalize.basic import collapse_spaces
from maxtext_ext.text.normalize.invisible import remove_invisible

_TIMESTAMP = re.compile(r"<\|\d+(?:\.\d+)?\|>")
# Sentence marks and dashes. Not quotes: two apostrophes are one way to type gershayim.
_REPEATED = re.compile(r"([.,!?;:…،؛؟۔。，！？、\-–—־])\1+")


def clean_training_text(text: str) -> str:
  """Removes Whisper's timestamps, invisible characters and repeated punctuation; composes to NFC.

  For any language. "<|0.00|> Well...  yes!!<|1.20|>" becomes "Well. yes!". Zero-width joiners stay,
  Persian and Indic scripts are spelled with them.
  """
  text = unicodedata.normalize("NFC", remove_invisible(text, keep_joiners=True))
  text = _TIMESTAMP.sub(" ", text)
  return collapse_spaces(_REPEATED.sub(r"\1", text))
