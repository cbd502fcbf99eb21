"""Worst utterances of a report: differences word by word, and the sound."""

import dataclasses
from collections.abc import Sequence

from maxtext_ext.evaluate.alignment import Pair, align, count_edits
from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.evaluate.mixed import has_characters, split_units
from maxtext_ext.evaluate.wer import Scores, Texts
from maxtext_ext.pages.render import direction

_KEPT_HITS = 3  # shown on either side of a longer run of correct words
_MAX_PAIRS = 300  # words shown of one utterance


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gap:
  """Correct words that the page leaves out."""

  words: int
  kind: str = "gap"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
  """An utterance with errors.

  Attributes:
    edits: of words, and of single Chinese and Japanese characters.
    words: of the reference, normalised; such characters count as words.
    left_out: pairs beyond those that are shown.
  """

  utterance: Hypothesis
  edits: int
  words: int
  pairs: list[Pair | Gap]
  direction: str
  left_out: int


def find_worst(hypotheses: Sequence[Hypothesis], scores: Scores, count: int) -> list[Example]:
  """Finds the utterances with the most edits; ties in the order of their ids.

  Edits are those that are shown: of words, and of single Chinese and Japanese characters.
  """
  edits_U = [
    _count_units(texts) if edits and has_characters(texts.reference + texts.hypothesis) else edits
    for edits, texts in zip(scores.word_edits_U.tolist(), scores.texts, strict=True)
  ]
  ranked = sorted(
    (index for index, edits in enumerate(edits_U) if edits),
    key=lambda index: (-edits_U[index], hypotheses[index].dataset, hypotheses[index].id),
  )
  examples = []
  for index in ranked[:count]:
    said, heard = scores.texts[index]
    units = said.split()
    aligned = align(units, heard.split())
    if has_characters(said + heard):
      units = split_units(said)
      aligned = align(units, split_units(heard))
    pairs = _shorten(aligned)
    examples.append(
      Example(
        utterance=hypotheses[index],
        edits=edits_U[index],
        words=len(units),
        pairs=pairs[:_MAX_PAIRS],
        direction=direction(said or heard),
        left_out=max(0, len(pairs) - _MAX_PAIRS),
      )
    )
  return examples


def _count_units(texts: Texts) -> int:
  edits = count_edits(split_units(texts.reference), split_units(texts.hypothesis))
  return edits.substitutions + edits.deletions + edits.insertions


def _shorten(pairs: list[Pair]) -> list[Pair | Gap]:
  """Puts a gap inside runs of correct words that would fill the page."""
  shortened: list[Pair | Gap] = []
  run: list[Pair] = []

  def flush() -> None:
    if len(run) > 4 * _KEPT_HITS:
      gap = Gap(words=len(run) - 2 * _KEPT_HITS)
      shortened.extend([*run[:_KEPT_HITS], gap, *run[-_KEPT_HITS:]])
    else:
      shortened.extend(run)
    run.clear()

  for pair in pairs:
    if pair.kind == "hit":
      run.append(pair)
    else:
      flush()
      shortened.append(pair)
  flush()
  return shortened
