"""Words of a transcript with their confidence: the probability that the model gave them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from maxtext_ext.evaluate.mixed import word_spans


@dataclass(frozen=True, kw_only=True)
class Word:
  """Word of a transcript, or a character of a script without spaces.

  Attributes:
    text: with its punctuation.
    confidence: product of the probabilities of its tokens, each given what is before it: the
      model's probability of this word at this place. It may be compared with the share of words
      that are right, however many tokens a word has. (Whisper's is the mean over the tokens, which
      is higher for words of several.)
  """

  text: str
  confidence: float

  def as_dict(self) -> dict[str, Any]:
    """Returns it as lines of hypotheses have it, with four digits of the confidence."""
    return {"word": self.text, "confidence": float(f"{self.confidence:.4g}")}


def rate_words(text: str, pieces: Sequence[str], log_probs: Sequence[float]) -> tuple[Word, ...]:
  """Splits a transcript into words, and computes their confidences.

  A token counts for each word of which it has a character, or bytes of one.

  Args:
    text: the transcript.
    pieces: text of each token of the answer, of which the transcript is the end.
    log_probs: natural logarithms of their probabilities, and maybe of the token that ends a text.

  Returns:
    the words; none where there are no log-probabilities, or where the pieces have not the text,
    as after bytes that make no character.
  """
  owners: list[int] = []  # piece of each character
  totals: list[float] = []  # of pieces, with those before them that have no character yet
  answer, total = "", 0.0
  for piece, log_prob in zip(pieces, log_probs, strict=False):
    piece = piece.replace("\ufffd", "")
    total += log_prob
    if piece:
      owners += [len(totals)] * len(piece)
      totals.append(total)
      answer, total = answer + piece, 0.0
  first = len(answer.rstrip()) - len(text)
  if first < 0 or answer[first : first + len(text)] != text:
    return ()
  owners = owners[first:]
  return tuple(
    Word(
      text=text[start:end],
      confidence=min(1.0, math.exp(sum(totals[owners[start] : owners[end - 1] + 1]))),
    )
    for start, end in word_spans(text)
  )
