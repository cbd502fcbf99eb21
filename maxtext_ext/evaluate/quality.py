"""Signs of bad transcripts that error rates hide: loops, silence with text, cut and empty ones."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from maxtext_ext.evaluate.hypothesis import FINISH_REASON, Hypothesis
from maxtext_ext.evaluate.loops import has_loop
from maxtext_ext.evaluate.mixed import split_units
from maxtext_ext.evaluate.pier import SwitchedWords, score_switched
from maxtext_ext.evaluate.wer import Texts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quality:
  """Counts of bad transcripts.

  Attributes:
    utterances: in all.
    loops: with a loop that the reference has not, or that decoding ended for one.
    cut: that a limit of tokens cut.
    speech: utterances whose reference has words.
    empty: of those, with an empty transcript.
    reference_words, hypothesis_words: of those.
    silence: utterances without words in the reference: noise, music, silence.
    silence_seconds: audio of those.
    silence_with_text: of those, with words in the transcript.
    silence_words: words in those transcripts.
    switched: errors of code-switched words; None where there are none.
  """

  utterances: int
  loops: int
  cut: int
  speech: int
  empty: int
  reference_words: int
  hypothesis_words: int
  silence: int
  silence_seconds: float
  silence_with_text: int
  silence_words: int
  switched: SwitchedWords | None

  @property
  def loop_rate(self) -> float:
    """Share of all utterances with a loop."""
    return self.loops / self.utterances

  @property
  def cut_rate(self) -> float:
    """Share of all utterances that were cut."""
    return self.cut / self.utterances

  @property
  def empty_rate(self) -> float | None:
    """Share of utterances with speech whose transcript is empty."""
    return self.empty / self.speech if self.speech else None

  @property
  def length_ratio(self) -> float | None:
    """Words of transcripts for a word of their references."""
    return self.hypothesis_words / self.reference_words if self.reference_words else None

  @property
  def words_per_minute(self) -> float | None:
    """Words for a minute of clips without speech."""
    return 60 * self.silence_words / self.silence_seconds if self.silence_seconds else None

  def figures(self) -> dict[str, Any]:
    """Returns counts and rates for JSON."""
    switched = None
    if self.switched is not None:
      switched = dataclasses.asdict(self.switched) | {"pier": self.switched.rate}
    return dataclasses.asdict(self) | {
      "loop_rate": self.loop_rate,
      "cut_rate": self.cut_rate,
      "empty_rate": self.empty_rate,
      "length_ratio": self.length_ratio,
      "silence_words_per_minute": self.words_per_minute,
      "switched": switched,
    }


def assess(hypotheses: Sequence[Hypothesis], texts: Sequence[Texts]) -> Quality:
  """Counts bad transcripts.

  Args:
    hypotheses: at least one.
    texts: their normalised texts.
  """
  said = [split_units(pair.reference) for pair in texts]
  heard = [split_units(pair.hypothesis) for pair in texts]
  speech = [place for place, words in enumerate(said) if words]
  silence = [place for place, words in enumerate(said) if not words]
  reasons = [item.extra.get(FINISH_REASON) for item in hypotheses]
  return Quality(
    utterances=len(hypotheses),
    loops=sum(
      reason == "loop" or (has_loop(words) and not has_loop(reference))
      for reason, words, reference in zip(reasons, heard, said, strict=True)
    ),
    cut=sum(item.is_cut for item in hypotheses),
    speech=len(speech),
    empty=sum(not heard[place] for place in speech),
    reference_words=sum(len(said[place]) for place in speech),
    hypothesis_words=sum(len(heard[place]) for place in speech),
    silence=len(silence),
    silence_seconds=math.fsum(hypotheses[place].duration for place in silence),
    silence_with_text=sum(bool(heard[place]) for place in silence),
    silence_words=sum(len(heard[place]) for place in silence),
    switched=score_switched(hypotheses, texts),
  )
