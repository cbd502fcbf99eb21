"""Parts of clips: a clip is decoded at once, a long recording in pieces that are joined again."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from maxtext_ext.decode.words import shift_line
from maxtext_ext.evaluate.hypothesis import FINISH_REASON, Hypothesis
from maxtext_ext.input.utterance import Utterance
from maxtext_ext.sources.fields import Fields
from maxtext_ext.text.joining import join_texts

_WORDS = "words"  # extra field of lines
_WORST_FIRST = ("length", "loop", "stop")


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
  """Part of a clip.

  Attributes:
    fields: of the clip.
    start: seconds from the start of the clip.
    seconds: of audio.
    utterance: what is decoded; None: silence, which has no text.
    last: no other part follows.
  """

  fields: Fields
  start: float = 0.0
  seconds: float
  utterance: Utterance | None
  last: bool = True

  @property
  def held_seconds(self) -> float:
    """Returns the seconds of sound that it holds in memory."""
    return self.seconds if self.utterance is not None else 0.0


def join_lines(parts: Sequence[Part], lines: Sequence[Hypothesis | None]) -> Hypothesis:
  """Joins the lines of all parts of a clip; a clip of one part has the line that it has got.

  Args:
    parts: in order.
    lines: of each; None: silence.

  Returns:
    The line of the clip, with `segments` that tell times and text of the pieces with speech:
    [{"start", "end", "text", "complete"}, ...] in seconds, and what else the line of a piece says.
    Their words are those of the clip, with times in it, and the worst reason why one ended is its
    reason.
  """
  if len(parts) == 1 and lines[0] is not None:
    return lines[0]
  fields = parts[0].fields
  clip: dict[str, Any] = {} if fields.speaker is None else {"speaker": fields.speaker}
  segments: list[dict[str, Any]] = [
    {
      "start": round(part.start, 3),
      "end": round(part.start + part.seconds, 3),
      "text": line.hypothesis,
      "complete": line.complete,
      **{name: value for name, value in line.extra.items() if name not in {*clip, _WORDS}},
    }
    for part, line in zip(parts, lines, strict=True)
    if line is not None
  ]
  heard = [line for line in lines if line is not None]
  reasons = [line.extra.get(FINISH_REASON) for line in heard]
  clip |= {FINISH_REASON: next((name for name in _WORST_FIRST if name in reasons), "no_speech")}
  words = [
    shift_line(word, part.start)
    for part, line in zip(parts, lines, strict=True)
    if line is not None
    for word in line.extra.get(_WORDS, ())
  ]
  if words:
    clip |= {_WORDS: words}
  return Hypothesis(
    id=fields.sample_id,
    dataset=fields.dataset_name,
    language=fields.language,
    duration=math.fsum(part.seconds for part in parts),
    reference=fields.text,
    hypothesis=join_texts(line.hypothesis for line in heard),
    complete=all(line.complete for line in heard),
    extra=clip | {"segments": segments},
  )
