"""Tags of GigaSpeech's texts, and the normaliser that its word error rates are computed with.

Texts are upper case. Four marks are words of their own (`<COMMA>`), and an utterance without speech
is one of four tags. Source: README.md and utils/gigaspeech_scoring.py of SpeechColab/GigaSpeech.
"""

import re

from maxtext_ext.text.normalize.basic import collapse_spaces

MARKS = {"<comma>": ",", "<period>": ".", "<questionmark>": "?", "<exclamationpoint>": "!"}
GARBAGE = frozenset(("<sil>", "<music>", "<noise>", "<other>"))
UNKNOWN = "<unk>"
FILLERS = frozenset(
  ("uh", "uhh", "um", "eh", "mm", "hm", "ah", "huh", "ha", "er", "oof", "hee", "ach", "eee", "ew")
)

_NOT_SCORED = FILLERS | GARBAGE | MARKS.keys() | {UNKNOWN}
_MARK_BEHIND_WORD = re.compile(r"[,.?!]+(?!\S)")
_SPACE_BEFORE_MARK = re.compile(r"\s+([,.?!])(?!\S)")


def normalize(text: str) -> str:
  """Lower case, without fillers, tags and the four marks; hyphens separate words.

  The four marks at the end of a word count as their tags, so that texts with punctuation score like
  those without. Nothing else changes: numbers and apostrophes stay as they are.
  """
  words = _MARK_BEHIND_WORD.sub(" ", text.lower().replace("-", " ")).split()
  return " ".join(word for word in words if word not in _NOT_SCORED)


def garbage_in(text: str) -> str | None:
  """Returns the first tag of a text that says something else than words was heard, or None."""
  return next((word for word in text.lower().split() if word in GARBAGE | {UNKNOWN}), None)


def write_marks(text: str, *, keep: bool) -> str:
  """Replaces the tags of marks, in lower case: "SAID HE <COMMA> YES" -> "said he, yes".

  Args:
    text: as the corpus has it.
    keep: whether the marks stay; otherwise "said he yes".
  """
  words = (MARKS.get(word, word) if keep else word for word in text.lower().split())
  joined = " ".join(word for word in words if word not in MARKS)
  return _SPACE_BEFORE_MARK.sub(r"\1", joined) if keep else collapse_spaces(joined)
