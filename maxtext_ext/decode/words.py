"""Words of a transcript with their confidence, the model's probability, and with their times."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from maxtext_ext.evaluate.mixed import word_spans

TIMES = ("start", "end")  # fields of a word in lines


@dataclass(frozen=True, kw_only=True)
class Word:
  """Word of a transcript, or a character of a script without spaces.

  Attributes:
    text: with its punctuation.
    confidence: product of the probabilities of its tokens, each given what is before it: the
      model's probability of this word at this place. It may be compared with the share of words
      that are right, however many tokens a word has. (Whisper's is the mean over the tokens, which
      is higher for words of several.)
    times: start and end in seconds; None where the engine tells none.
  """

  text: str
  confidence: float
  times: tuple[float, float] | None = None

  def as_dict(self) -> dict[str, Any]:
    """Returns it as lines of hypotheses have it: four digits of the confidence, milliseconds."""
    line: dict[str, Any] = {"word": self.text, "confidence": float(f"{self.confidence:.4g}")}
    if self.times is not None:
      line |= {name: round(at, 3) for name, at in zip(TIMES, self.times, strict=True)}
    return line

  def later(self, seconds: float) -> Self:
    """Returns it with times that are so many seconds later, as in a longer recording."""
    if self.times is None:
      return self
    start, end = self.times
    return dataclasses.replace(self, times=(start + seconds, end + seconds))


def shift_line(word: dict[str, Any], seconds: float) -> dict[str, Any]:
  """Does for a word as a line has it what `Word.later` does."""
  times = {name: round(word[name] + seconds, 3) for name in TIMES if name in word}
  return word | times


def rate_words(
  text: str,
  pieces: Sequence[str],
  log_probs: Sequence[float],
  times: Sequence[tuple[float, float]] = (),
) -> tuple[Word, ...]:
  """Splits a transcript into words, and computes their confidences and times.

  A token counts for each word of which it has a character, or bytes of one.

  Args:
    text: the transcript.
    pieces: text of each token of the answer, of which the transcript is the end.
    log_probs: natural logarithms of their probabilities, and maybe of the token that ends a text.
    times: start and end of each token in seconds; empty where they are not known.

  Returns:
    the words; none where there are no log-probabilities, or where the pieces have not the text,
    as after bytes that make no character.
  """
  owners: list[int] = []  # piece of each character
  totals: list[float] = []  # of pieces, with those before them that have no character yet
  tokens: list[tuple[int, int]] = []  # of which each consists, the first and the last
  answer, total, begin = "", 0.0, 0
  for token, (piece, log_prob) in enumerate(zip(pieces, log_probs, strict=False)):
    piece = piece.replace("\ufffd", "")
    total += log_prob
    if piece:
      owners += [len(totals)] * len(piece)
      totals.append(total)
      tokens.append((begin, token))
      answer, total, begin = answer + piece, 0.0, token + 1
  first = len(answer.rstrip()) - len(text)
  if first < 0 or answer[first : first + len(text)] != text:
    return ()
  owners = owners[first:]
  words = []
  for start, end in word_spans(text):
    of_word = slice(owners[start], owners[end - 1] + 1)
    spans = tokens[of_word]
    words.append(
      Word(
        text=text[start:end],
        confidence=min(1.0, math.exp(sum(totals[of_word]))),
        times=(times[spans[0][0]][0], times[spans[-1][1]][1]) if times else None,
      )
    )
  return tuple(words)
