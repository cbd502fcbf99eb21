"""Error rates of a set of utterances, with their counts and intervals."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True, kw_only=True)
class ErrorRate:
  """Edits of a set of utterances, in words, characters or mixed units.

  Attributes:
    interval: 95% bootstrap interval of `rate`; None for fewer than two blocks or where the
      references are all empty.
  """

  hits: int
  substitutions: int
  deletions: int
  insertions: int
  interval: tuple[float, float] | None

  @property
  def edits(self) -> int:
    """Substitutions, deletions and insertions together."""
    return self.substitutions + self.deletions + self.insertions

  @property
  def units(self) -> int:
    """Words or characters of the references."""
    return self.hits + self.substitutions + self.deletions

  @property
  def rate(self) -> float:
    """Edits / reference units, as a fraction; infinite for insertions to empty references alone."""
    if self.units:
      return self.edits / self.units
    return math.inf if self.edits else 0.0

  @property
  def known(self) -> float | None:
    """Rate for tables; None without reference units, where there is none."""
    return self.rate if self.units else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
  """Error rates of a set of utterances.

  Attributes:
    seconds: audio in all.
    blocks: that the intervals are drawn from.
    empty_references: utterances whose normalised reference has no word. They add no reference
      words; all that the hypotheses have there counts as insertions.
    empty_hypotheses: utterances whose normalised hypothesis has no word.
    cut: hypotheses that a limit of tokens cut.
    mixed: in words, and in characters of Chinese and Japanese; `words` where there are none.
  """

  utterances: int
  seconds: float
  blocks: int
  empty_references: int
  empty_hypotheses: int
  cut: int
  words: ErrorRate
  characters: ErrorRate
  mixed: ErrorRate

  @property
  def wer(self) -> float:
    """Word error rate, a fraction."""
    return self.words.rate

  @property
  def cer(self) -> float:
    """Character error rate, a fraction."""
    return self.characters.rate

  @property
  def mer(self) -> float:
    """Mixed error rate, a fraction."""
    return self.mixed.rate
