"""Clips to decode: their ids, known before any sound is read, and the record of each."""

import abc
import dataclasses
from collections.abc import Sequence

from maxtext_ext.evaluate.hypothesis import ERROR, Hypothesis
from maxtext_ext.files.download import DownloadError
from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.drops import Drop
from maxtext_ext.input.reading import RecordData, SilentData
from maxtext_ext.input.transforms import BuildUtterance, Clip
from maxtext_ext.input.utterance import Utterance
from maxtext_ext.records.schema import Record, decode_example
from maxtext_ext.sources.fields import Fields
from maxtext_ext.text.vocabulary import Vocabulary


class Clips(abc.ABC):
  """Clips of a source, by place.

  Attributes:
    where: names the source in messages.
    ids: of all clips; one that has none is named by its place.
  """

  where: str
  ids: Sequence[str]

  @abc.abstractmethod
  def record(self, place: int) -> Record:
    """Reads a clip; may be called by several threads.

    Raises:
      RecordError, AudioError: it cannot be used.
      OSError: the source cannot be reached.
    """

  def fields(self, place: int) -> Fields:
    """Returns what is known of a clip that cannot be read."""
    return Fields(
      sample_id=self.ids[place], text="", dataset_name="", language=None, prompt="", speaker=None
    )


class SplitClips(Clips):
  """Records of a split in ArrayRecord shards.

  Args:
    data: the split.
    visible: whether to show the progress where lengths, and with them ids, must be scanned.
  """

  def __init__(self, data: RecordData, *, visible: bool) -> None:
    self.where = data.where
    self._data = data
    lengths = SilentData(data=data, scan=True, visible=visible).lengths
    assert lengths is not None
    records = (lengths[place] for place in range(len(data)))
    self.ids = [
      record.sample_id if record else f"record {place}" for place, record in enumerate(records)
    ]

  def record(self, place: int) -> Record:
    """See Clips."""
    return decode_example(self._data.source[place], copy=False)


class UtteranceReader:
  """Reader of utterances from clips; one that cannot be used fails alone.

  Args:
    longest_prompt: tokens that the engine can take; None: any number.
  """

  def __init__(
    self,
    clips: Clips,
    inputs: InputConfig,
    tokenizer: Vocabulary,
    *,
    longest_prompt: int | None = None,
  ) -> None:
    self._clips, self._longest_prompt = clips, longest_prompt
    self._build = BuildUtterance.from_config(inputs, tokenizer).without_target()

  def __call__(self, place: int) -> Utterance | Hypothesis:
    """Reads a clip; of one that cannot be used it returns the line, with the reason.

    Raises:
      OSError: the source cannot be reached, which says nothing about the clip.
    """
    try:
      record = self._clips.record(place)
      _require_texts(record)
    except ValueError as error:  # RecordError and AudioError are such
      if outage := _outage(error):
        raise OSError(str(outage)) from error
      fields = self._clips.fields(place)
      if name := getattr(error, "sample_id", ""):
        fields = dataclasses.replace(fields, sample_id=name)
      return _failed(fields, 0.0, str(error))
    built = self._build.apply(Clip(record=record))
    if not isinstance(built, Drop):
      tokens, most = len(built.prompt), self._longest_prompt
      if most is None or tokens <= most:
        return built
      reason = (
        f"the prompt of {built.seconds:.0f} s of audio and its context has {tokens} tokens,"
        f" at most {most} can be decoded; cut the clip or shorten the context"
      )
      return _failed(_fields_of(record), record.seconds, reason)
    named = f"{record.sample_id}: "  # once by the transform, and by some errors
    reason = built.detail.removeprefix(named).removeprefix(named)
    return _failed(_fields_of(record), record.seconds, reason)


def _fields_of(record: Record) -> Fields:
  return Fields(**{field.name: getattr(record, field.name) for field in dataclasses.fields(Fields)})


def _require_texts(record: Record) -> None:
  """Raises ValueError unless the texts of a record can be written to a file."""
  for name in ("sample_id", "dataset_name", "text"):
    try:
      getattr(record, name).encode()
    except UnicodeEncodeError as error:
      raise ValueError(f"{name} is no valid text: lone surrogate at {error.start}") from error


def _failed(fields: Fields, seconds: float, reason: str) -> Hypothesis:
  """Makes the line of a clip that cannot be transcribed."""
  return Hypothesis(
    id=_printable(fields.sample_id),
    dataset=_printable(fields.dataset_name),
    language=fields.language,
    duration=seconds,
    reference=_printable(fields.text),
    hypothesis="",
    extra={ERROR: _printable(" ".join(reason.split()))},
  )


def _printable(text: str) -> str:
  return text.encode("utf-8", "backslashreplace").decode()


def _outage(error: BaseException) -> OSError | None:
  """Returns the failed request behind an error; None where the clip itself is at fault.

  The operating system's errors have a number, those of storage at URLs have none.
  """
  cause: BaseException | None = error
  while cause is not None:
    if isinstance(cause, OSError) and cause.errno is None:
      return None if isinstance(cause, FileNotFoundError | DownloadError) else cause
    cause = cause.__cause__
  return None
