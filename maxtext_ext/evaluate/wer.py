"""Corpus word and character error rates, per dataset, per language and in all."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from maxtext_ext.evaluate.alignment import count_edits
from maxtext_ext.evaluate.bootstrap import bootstrap_interval
from maxtext_ext.evaluate.hypotheses import Hypothesis
from maxtext_ext.text.normalize import get_normalizer

UNSPECIFIED = "unspecified"  # the group of utterances without a dataset or a language


@dataclasses.dataclass(frozen=True, kw_only=True)
class ErrorRate:
  """Edits of a set of utterances, in words or in characters.

  Attributes:
    interval: 95% bootstrap interval of `rate`; None for fewer than two utterances or where the
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
  """Error rates of a set of utterances.

  Attributes:
    seconds: audio in all.
    empty_references: utterances whose normalised reference has no word. They add no reference
      words; all that the hypotheses have there counts as insertions.
    empty_hypotheses: utterances whose normalised hypothesis has no word.
    cut: hypotheses that `max_new_tokens` cut.
  """

  utterances: int
  seconds: float
  empty_references: int
  empty_hypotheses: int
  cut: int
  words: ErrorRate
  characters: ErrorRate

  @property
  def wer(self) -> float:
    """Word error rate, a fraction."""
    return self.words.rate

  @property
  def cer(self) -> float:
    """Character error rate, a fraction."""
    return self.characters.rate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
  """Result of score().

  Attributes:
    normalizer: its name in NORMALIZERS.
    by_dataset: in the order of the names, as by_language is.
    word_edits_U: word edits of each utterance, in the order of the input.
  """

  normalizer: str
  overall: Score
  by_dataset: dict[str, Score]
  by_language: dict[str, Score]
  word_edits_U: np.ndarray = dataclasses.field(compare=False, repr=False)

  @property
  def wer(self) -> float:
    """Word error rate, a fraction."""
    return self.overall.wer

  @property
  def cer(self) -> float:
    """Character error rate, a fraction."""
    return self.overall.cer


def score(hypotheses: Sequence[Hypothesis], normalizer: str = "basic", *, seed: int = 0) -> Scores:
  """Normalises both sides of every utterance, aligns them and sums up.

  Characters are code points of the normalised text, the single spaces between words included. The
  result does not depend on the order of the utterances.

  Args:
    normalizer: a name in maxtext_ext.text.normalize.NORMALIZERS.
    seed: of the bootstrap.

  Raises:
    ValueError: no hypotheses, or an unknown normalizer.
  """
  normalize = get_normalizer(normalizer)
  if not hypotheses:
    raise ValueError("there are no hypotheses to score")
  words, characters = [], []
  for item in hypotheses:
    reference, hypothesis = normalize(item.reference), normalize(item.hypothesis)
    words.append(count_edits(reference.split(), hypothesis.split()))
    characters.append(count_edits(reference, hypothesis))
  words_U4, characters_U4 = np.array(words), np.array(characters)
  seconds_U = [item.duration for item in hypotheses]
  complete_U = np.array([item.complete for item in hypotheses])

  def summarise(indices: np.ndarray) -> Score:
    group_words_U4 = words_U4[indices]
    return Score(
      utterances=len(indices),
      seconds=math.fsum(seconds_U[index] for index in indices),  # exact, so free of order
      empty_references=int(np.sum(_reference_units(group_words_U4) == 0)),
      empty_hypotheses=int(np.sum(_hypothesis_units(group_words_U4) == 0)),
      cut=int(np.sum(~complete_U[indices])),
      words=_error_rate(group_words_U4, seed),
      characters=_error_rate(characters_U4[indices], seed),
    )

  def by(labels: list[str]) -> dict[str, Score]:
    names, label_U = np.unique(np.array(labels, dtype=object), return_inverse=True)
    return {str(name): summarise(np.flatnonzero(label_U == k)) for k, name in enumerate(names)}

  return Scores(
    normalizer=normalizer,
    overall=summarise(np.arange(len(hypotheses))),
    by_dataset=by([item.dataset or UNSPECIFIED for item in hypotheses]),
    by_language=by([item.language or UNSPECIFIED for item in hypotheses]),
    word_edits_U=_edits(words_U4),
  )


# Columns of a counts_U4 array: hits, substitutions, deletions, insertions (Edits).
def _edits(counts_U4: np.ndarray) -> np.ndarray:
  return counts_U4[:, 1:].sum(axis=1)


def _reference_units(counts_U4: np.ndarray) -> np.ndarray:
  return counts_U4[:, :3].sum(axis=1)


def _hypothesis_units(counts_U4: np.ndarray) -> np.ndarray:
  return counts_U4[:, [0, 1, 3]].sum(axis=1)


def _error_rate(counts_U4: np.ndarray, seed: int) -> ErrorRate:
  hits, substitutions, deletions, insertions = (int(total) for total in counts_U4.sum(axis=0))
  return ErrorRate(
    hits=hits,
    substitutions=substitutions,
    deletions=deletions,
    insertions=insertions,
    interval=bootstrap_interval(_edits(counts_U4), _reference_units(counts_U4), seed=seed),
  )
