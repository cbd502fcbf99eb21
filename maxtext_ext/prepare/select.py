"""Selection of a source's clips, with the cleaned text and the split of each."""

import dataclasses
import re
from collections.abc import Callable

from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.conversion.selector import Selected, Skipped
from maxtext_ext.prepare import buckwalter, changes
from maxtext_ext.prepare.split import Split
from maxtext_ext.records.schema import Record
from maxtext_ext.text.normalize import arabic, basic, hebrew, training

Clean = Callable[[str], str]

# What makes text to train on of a language, and what shows whether any words are in it. Languages
# that are not named here have the last one.
TEXTS: dict[str, tuple[Clean, Clean]] = {
  "Arabic": (arabic.clean_training_text, basic.normalize),
  "Arabic/English": (arabic.clean_training_text, basic.normalize),
  "Hebrew": (hebrew.clean_training_text, hebrew.normalize),
  "": (training.clean_training_text, basic.normalize),
}

NO_WORDS = "no words after normalisation"
# An MP3 file holds up to two frames of 1152 samples more than was encoded, at 16 kHz 0.14 s.
MP3_PADDING = 0.15  # s
# Whisper's form of a segment that begins in the clip and ends after it: its start alone, behind the
# end of the segment before it, and no text.
_OPEN_SEGMENT = re.compile(r"<\|\d+(?:\.\d+)?\|>\s*<\|(\d+(?:\.\d+)?)\|>\s*$")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Select:
  """Selector of a source's clips, for `conversion.convert`.

  Attributes:
    to: the split of all clips, or the shares that they are divided into.
    language: as in TEXTS.
    min_seconds, max_seconds: shorter and longer clips are left out; both limits are inclusive.
    overhang_seconds: clips that are this much too long at most are cut at the limit: what their
      encoder added.
    whisper_segments: the text has Whisper's timestamps. Where its last segment has no text, the
      clip is cut before it, so that all speech in the clip is in the text.
    buckwalter: the text is vowelled Arabic in Buckwalter's letters; it becomes Arabic letters
      without vowels.
    group: regular expression whose first group is the recording or speaker in an id; clips of one
      recording or speaker go to one split. None: each clip is placed by its id.
    by_text: divide by text instead of id, for sources without stable ids.
  """

  to: str | Split
  language: str
  min_seconds: float = 0.5
  max_seconds: float = 30.0
  overhang_seconds: float = 0.0
  whisper_segments: bool = False
  buckwalter: bool = False
  group: str | None = None
  by_text: bool = False

  def __post_init__(self) -> None:
    if not 0 <= self.min_seconds < self.max_seconds:
      raise ValueError(
        f"min_seconds is {self.min_seconds} and max_seconds {self.max_seconds}, expected "
        "0 <= min_seconds < max_seconds"
      )

  def __call__(self, record: Record) -> Selected | Skipped:
    """Returns the record with its text cleaned, or the reason for leaving it out."""
    clean, normalize = TEXTS.get(self.language, TEXTS[""])
    text = clean(buckwalter.to_arabic(record.text) if self.buckwalter else record.text)
    if not normalize(text):
      return Skipped(NO_WORDS)
    samples = self._wanted_samples(record)
    if samples < self.min_seconds * SAMPLE_RATE:
      return Skipped(f"shorter than {self.min_seconds:g} s")
    if samples > self.max_seconds * SAMPLE_RATE:
      return Skipped(f"longer than {self.max_seconds:g} s")
    split = self.to if isinstance(self.to, str) else self.to.part_of(self._key(record, text))
    if text != record.text or samples < len(record.audio):
      record = dataclasses.replace(record, text=text, audio=record.audio[:samples])
    return Selected(record=record, split=split)

  def _wanted_samples(self, record: Record) -> int:
    samples = len(record.audio)
    if self.whisper_segments and (start := open_segment(record.text)) is not None:
      samples = min(samples, round(start * SAMPLE_RATE))
    limit = int(self.max_seconds * SAMPLE_RATE)
    if limit < samples <= limit + self.overhang_seconds * SAMPLE_RATE:
      return limit
    return samples

  def _key(self, record: Record, text: str) -> str:
    if self.by_text:
      return text
    match = re.search(self.group, record.sample_id) if self.group else None
    return match[1] if match else record.sample_id


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChangeSelect(Select):
  """Selector of a corpus whose records are changed, or left out, before all else.

  A class of its own, as an interrupted conversion knows its selector by its class and fields.

  Attributes:
    change: a key of CHANGES.
  """

  change: str

  def __call__(self, record: Record) -> Selected | Skipped:
    """As Select, of the changed record."""
    changed = changes.CHANGES[self.change](record)
    return changed if isinstance(changed, Skipped) else super().__call__(changed)


def open_segment(text: str) -> float | None:
  """Returns the start, in seconds, of a segment that Whisper's timestamps open at a text's end.

  "<|0.00|>one<|2.40|><|3.10|>" -> 3.1; None where the last segment is complete.
  """
  match = _OPEN_SEGMENT.search(text)
  return float(match[1]) if match else None
