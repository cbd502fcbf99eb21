"""Echoes: answers that are the context of the prompt instead of what is said.

Speech models write a list of names from their prompt when a clip has noise, or speech that sounds
like it (Qwen3-ASR's issues 106 and 140). But a speaker may say just such a name, so an answer of
words from the context alone is only suspected, and compared with one without the context.
"""

import difflib
import re

from maxtext_ext.evaluate.mixed import split_units

_ALIKE = 0.5  # of 1: a name and how it is spelled without help, rather than another sentence
_MARKS = re.compile(r"[^\w\s]")


def is_suspect(text: str, context: str) -> bool:
  """Returns whether a text has words, and all of them are words of the context."""
  words = _words(text)
  return bool(words) and set(words) <= set(_words(context))


def is_heard(text: str, plain: str) -> bool:
  """Returns whether a text is much the same as the answer without the context, so no echo."""
  one, other = ("".join(_words(each)) for each in (text, plain))
  return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio() >= _ALIKE


def _words(text: str) -> list[str]:
  return split_units(_MARKS.sub(" ", text).casefold())
