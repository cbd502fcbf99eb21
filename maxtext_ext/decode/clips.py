"""Clips to decode: their ids, known before any sound is read, and the record of each."""

import abc
import dataclasses
import itertools
from collections.abc import Generator, Iterator, Sequence

import numpy as np

from maxtext_ext.audio.limits import SAMPLE_RATE, TooLongError
from maxtext_ext.audio.pieces import PIECE_SECONDS, Piece, cut_pieces
from maxtext_ext.decode.parts import Part
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

  def has_reference(self, place: int) -> bool:
    """Returns whether the source says what is said in a clip; a text may be empty."""
    del place
    return True

  def fields(self, place: int) -> Fields:
    """Returns what is known of a clip that cannot be read."""
    return Fields(
      sample_id=self.ids[place], text="", dataset_name="", language=None, prompt="", speaker=None
    )


class Recordings(Clips):
  """Clips of sound files, which may be as long as `audio.limits.MAX_LONG_SECONDS`."""

  @abc.abstractmethod
  def stream(self, place: int) -> tuple[Fields, Iterator[np.ndarray]]:
    """Opens a clip for which `record` has raised TooLongError.

    Returns:
      what is known of it, and its samples: [T] float32 at SAMPLE_RATE, of any lengths, which raise
      as `record` does.
    """


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
    piece_seconds: recordings that are longer are cut into pieces, at quiet points; records of a
      split are not.
    longest_prompt: tokens that the engine can take; None: any number.
  """

  def __init__(
    self,
    clips: Clips,
    inputs: InputConfig,
    tokenizer: Vocabulary,
    *,
    piece_seconds: float = PIECE_SECONDS,
    longest_prompt: int | None = None,
  ) -> None:
    self._clips, self._longest_prompt = clips, longest_prompt
    self._limit = round(piece_seconds * SAMPLE_RATE)
    self._build = BuildUtterance.from_config(inputs, tokenizer).without_target()

  def __call__(self, place: int) -> Generator[Part | Hypothesis, None, None]:
    """Reads the parts of a clip; ends with the line of one that cannot be used, with the reason.

    Raises:
      OSError: the source cannot be reached, which says nothing about the clip.
    """
    try:
      yield from self._parts(place)
    except ValueError as error:  # RecordError and AudioError are such
      if outage := _outage(error):
        raise OSError(str(outage)) from error
      fields = self._clips.fields(place)
      if name := getattr(error, "sample_id", ""):
        fields = dataclasses.replace(fields, sample_id=name)
      yield _failed(fields, 0.0, str(error))

  def _parts(self, place: int) -> Iterator[Part | Hypothesis]:
    clips = self._clips
    if not isinstance(clips, Recordings):
      yield self._whole(clips.record(place))
      return
    try:
      record = clips.record(place)
    except ValueError as error:
      if not _is_too_long(error):
        raise
      fields, blocks = clips.stream(place)
    else:
      if len(record.audio) <= self._limit:
        yield self._whole(record)
        return
      fields, blocks = _fields_of(record), iter([record.as_float32()])
    _require_texts(fields)
    yield from self._pieces(fields, blocks)

  def _whole(self, record: Record) -> Part | Hypothesis:
    """Builds the only part of a clip."""
    fields = _fields_of(record)
    _require_texts(fields)
    built = self._utterance(record)
    if isinstance(built, str):
      return _failed(fields, record.seconds, built)
    return Part(fields=fields, seconds=record.seconds, utterance=built)

  def _pieces(self, fields: Fields, blocks: Iterator[np.ndarray]) -> Iterator[Part | Hypothesis]:
    """Cuts a recording into pieces; one that cannot be decoded ends it."""
    pieces: Iterator[Piece | None] = itertools.chain(cut_pieces(blocks, self._limit), [None])
    for piece, following in itertools.pairwise(pieces):
      assert piece is not None
      start, seconds = piece.start / SAMPLE_RATE, len(piece.samples) / SAMPLE_RATE
      utterance = None
      if not piece.is_silent:
        name = f"{fields.sample_id} from {start:.3f} s"
        record = dataclasses.replace(fields, sample_id=name).with_audio(piece.samples)
        built = self._utterance(record)
        if isinstance(built, str):
          yield _failed(fields, start + seconds, f"piece from {start:.3f} s: {built}")
          return
        utterance = built
      yield Part(
        fields=fields, start=start, seconds=seconds, utterance=utterance, last=following is None
      )

  def _utterance(self, record: Record) -> Utterance | str:
    """Builds the utterance of a record, or says why it cannot be decoded."""
    built = self._build.apply(Clip(record=record))
    if isinstance(built, Drop):
      named = f"{record.sample_id}: "  # once by the transform, and by some errors
      return built.detail.removeprefix(named).removeprefix(named)
    tokens, most = len(built.prompt), self._longest_prompt
    if most is None or tokens <= most:
      return built
    return (
      f"the prompt of {built.seconds:.0f} s of audio and its context has {tokens} tokens,"
      f" at most {most} can be decoded; cut the clip or shorten the context"
    )


def _fields_of(record: Record) -> Fields:
  return Fields(**{field.name: getattr(record, field.name) for field in dataclasses.fields(Fields)})


def _require_texts(fields: Fields) -> None:
  """Raises ValueError unless the texts of a clip can be written to a file."""
  for name in ("sample_id", "dataset_name", "text"):
    try:
      getattr(fields, name).encode()
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


def _is_too_long(error: BaseException | None) -> bool:
  """Returns whether the clip is sound, but too long to be decoded at once."""
  while error is not None and not isinstance(error, TooLongError):
    error = error.__cause__
  return error is not None


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
