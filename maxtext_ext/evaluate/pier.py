"""Error rate of code-switched words (PIER): words of another script than the rest."""

import collections
import dataclasses
import functools
import unicodedata
from collections.abc import Sequence

from maxtext_ext.evaluate.alignment import align
from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.evaluate.mixed import split_units
from maxtext_ext.evaluate.wer import Texts

_SAME = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "FULLWIDTH": "LATIN", "HALFWIDTH": "CJK"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SwitchedWords:
  """Errors of code-switched words.

  Attributes:
    utterances: that have such words beside others.
    words: switched words in their references.
    edits: substitutions and deletions of them, and insertions directly before them.
  """

  utterances: int
  words: int
  edits: int

  @property
  def rate(self) -> float:
    """Edits / switched words, a fraction."""
    return self.edits / self.words


def score_switched(
  hypotheses: Sequence[Hypothesis], texts: Sequence[Texts]
) -> SwitchedWords | None:
  """Scores code-switched words alone; None where there are none.

  Ugan et al., "PIER: a novel metric for evaluating what matters in code-switching", ICASSP 2025,
  with the words that their tool takes where nothing is tagged: those of another script than most
  words of the corpus, here of all utterances of the same language. Languages that share a script
  cannot be told apart. Chinese and Japanese count by character.

  Args:
    texts: normalised texts of each hypothesis.
  """
  units = [split_units(pair.reference) for pair in texts]
  main = _main_scripts(hypotheses, units)
  utterances = words = edits = 0
  for item, said, pair in zip(hypotheses, units, texts, strict=True):
    switched = [script_of(unit) not in (None, main[item.language]) for unit in said]
    if not any(switched) or all(switched):
      continue
    utterances += 1
    words += sum(switched)
    edits += _edits(said, split_units(pair.hypothesis), switched)
  return SwitchedWords(utterances=utterances, words=words, edits=edits) if words else None


def _main_scripts(
  hypotheses: Sequence[Hypothesis], units: Sequence[Sequence[str]]
) -> dict[str | None, str | None]:
  counts: dict[str | None, collections.Counter[str]] = {}
  for item, said in zip(hypotheses, units, strict=True):
    scripts = counts.setdefault(item.language, collections.Counter())
    scripts.update(script for unit in said if (script := script_of(unit)))
  return {
    language: scripts.most_common(1)[0][0] if scripts else None
    for language, scripts in counts.items()
  }


def _edits(said: Sequence[str], heard: Sequence[str], switched: Sequence[bool]) -> int:
  edits = place = 0
  for pair in align(said, heard):
    if pair.kind != "hit" and place < len(said) and switched[place]:
      edits += 1
    place += pair.kind != "insertion"
  return edits


@functools.lru_cache(maxsize=1 << 16)
def script_of(word: str) -> str | None:
  """Returns the script of a word's first letter, such as "LATIN"; None without a letter."""
  for character in word:
    if unicodedata.category(character)[0] == "L":
      name = unicodedata.name(character, "").split(" ")[0]
      return _SAME.get(name, name)
  return None
