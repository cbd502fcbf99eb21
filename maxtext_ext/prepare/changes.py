"""Changes of a corpus's records before selection: case, tags, unknown speakers."""

import dataclasses
from collections.abc import Callable

from maxtext_ext.conversion.selector import Skipped
from maxtext_ext.records.schema import Record
from maxtext_ext.text.normalize import gigaspeech

_NO_SPEAKER = "N/A"  # as GigaSpeech's metadata says it


def lower_case(record: Record) -> Record | Skipped:
  """Makes the text lower case."""
  return dataclasses.replace(record, text=record.text.lower())


def gigaspeech_words(record: Record) -> Record | Skipped:
  """Leaves out GigaSpeech's utterances without speech, and removes its marks."""
  return _of_gigaspeech(record, keep_marks=False)


def gigaspeech_marks(record: Record) -> Record | Skipped:
  """Leaves out GigaSpeech's utterances without speech, and writes its marks as punctuation."""
  return _of_gigaspeech(record, keep_marks=True)


CHANGES: dict[str, Callable[[Record], Record | Skipped]] = {
  "lower_case": lower_case,
  "gigaspeech_words": gigaspeech_words,
  "gigaspeech_marks": gigaspeech_marks,
}


def _of_gigaspeech(record: Record, *, keep_marks: bool) -> Record | Skipped:
  if tag := gigaspeech.garbage_in(record.text):
    return Skipped(f"utterance with the tag {tag.upper()}")
  text = gigaspeech.write_marks(record.text, keep=keep_marks)
  speaker = None if record.speaker == _NO_SPEAKER else record.speaker
  return dataclasses.replace(record, text=text, speaker=speaker)
