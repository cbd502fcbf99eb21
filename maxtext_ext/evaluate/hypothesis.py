"""Hypothesis: the transcript of an utterance beside its reference."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

FINISH_REASON = "finish_reason"  # extra field: why the text ended, as `decode` writes it
ERROR = "error"  # extra field of a clip without a transcript: why; its hypothesis is empty


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hypothesis:
  """Transcribed utterance; its texts are not normalised, which scoring does.

  Attributes:
    id: names the utterance inside its dataset; not empty.
    dataset: "" when the data has no name.
    language: Qwen3-ASR's name of it ("English", "Hebrew"), None when unknown.
    duration: seconds of audio.
    reference: what was said; "" for noise and silence, None where that is not known.
    hypothesis: output of the model.
    complete: whether the model ended it; False where a limit or a loop ended it.
    extra: further fields of the line as JSON has them, such as "speaker" or "words"; they do
      not count when hypotheses are compared.
  """

  id: str
  dataset: str = ""
  language: str | None = None
  duration: float = 0.0
  reference: str | None
  hypothesis: str
  complete: bool = True
  extra: Mapping[str, Any] = dataclasses.field(default_factory=dict, compare=False)

  def __post_init__(self) -> None:
    if not self.id:
      raise ValueError("id is empty; every hypothesis needs one to be told from the others")
    if not math.isfinite(self.duration) or self.duration < 0:
      raise ValueError(f"duration is {self.duration}, expected seconds, finite and not negative")
    for name in ("id", "dataset", "language", "reference", "hypothesis"):
      try:
        (getattr(self, name) or "").encode()
      except UnicodeEncodeError as error:
        raise ValueError(f"{name} is no valid text: lone surrogate at {error.start}") from error
    if clash := sorted(self.extra.keys() & FIELDS):
      raise ValueError(f"extra fields {clash} have the names of a hypothesis's own; rename them")

  @property
  def said(self) -> str:
    """Returns the reference. Raises ValueError where none is known."""
    if self.reference is None:
      raise ValueError(f"{self.id}: no reference is known, so it cannot be scored; leave it out")
    return self.reference

  @property
  def is_cut(self) -> bool:
    """Returns whether a limit of tokens cut it: not a loop, where the line tells them apart."""
    reason = self.extra.get(FINISH_REASON)
    return reason == "length" if reason else not self.complete

  def field(self, name: str) -> Any:
    """Returns a field of its line by name, its own or an extra one; None where it has none."""
    return getattr(self, name) if name in FIELDS else self.extra.get(name)


# Names of its own fields; a line of JSON has them beside the extra ones.
FIELDS = frozenset(field.name for field in dataclasses.fields(Hypothesis)) - {"extra"}


def number(hypothesis: Hypothesis, name: str) -> float | None:
  """Returns an extra field that is a number, or None."""
  value = hypothesis.extra.get(name)
  return float(value) if isinstance(value, int | float) else None
