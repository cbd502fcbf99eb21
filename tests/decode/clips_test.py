"""Clips of a split: their ids, their utterances, and those that cannot be read."""

import dataclasses
import pathlib
from collections.abc import Iterator

import numpy as np
import pytest

from maxtext_ext.audio.blocks import check_length
from maxtext_ext.audio.limits import SAMPLE_RATE, AudioError
from maxtext_ext.decode.clips import Clips, Recordings, SplitClips, UtteranceReader
from maxtext_ext.decode.parts import Part, join_lines
from maxtext_ext.evaluate.hypothesis import ERROR, Hypothesis
from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.datasets import Datasets
from maxtext_ext.input.reading import open_data
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY
from maxtext_ext.records.schema import Record, RecordError, encode_example
from maxtext_ext.records.writer import ShardWriter
from maxtext_ext.sources.fields import Fields
from maxtext_ext.text.tokenizer import Tokenizer, train_char_tokenizer
from tests import tiny


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Tokenizer:
  folder = tmp_path_factory.mktemp("tokenizer")
  return train_char_tokenizer(tiny.WORDS, folder, ["English", "Hebrew"])


def only[T](parts: Iterator[T]) -> T:
  (part,) = parts
  return part


def inputs_of(folder: pathlib.Path) -> InputConfig:
  return InputConfig(geometry=GEOMETRY, datasets=Datasets(data_dir=str(folder)), split="test")


def write(folder: pathlib.Path, stored: list[bytes]) -> pathlib.Path:
  path = folder / "test-00000-of-00001.array_record"
  with ShardWriter(str(path)) as writer:
    for data in stored:
      writer.write(data)
  return path


def open_split(folder: pathlib.Path, tokenizer: Tokenizer) -> tuple[SplitClips, UtteranceReader]:
  inputs = inputs_of(folder)
  clips = SplitClips(open_data(inputs), visible=False)
  return clips, UtteranceReader(clips, inputs, tokenizer)


@pytest.mark.parametrize("known", [True, False], ids=["lengths", "no lengths"])
def test_bad_records_fail_alone(tmp_path, tokenizer, known):
  records = tiny.records(6, seed=2)
  stored = [encode_example(record, audio="pcm16") for record in records]
  stored[1] = b"no record"
  spoilt = Record(sample_id="spoilt", audio=np.full(9_000, np.nan, np.float32), text="one")
  stored[3] = encode_example(spoilt)
  path = write(tmp_path, stored)
  if known:
    open_split(tmp_path, tokenizer)  # which stores the lengths
  content = bytearray(path.read_bytes())
  # In the sound of the fifth; the second and the fourth take next to nothing in the file.
  place = len(stored[0]) + len(stored[2]) + len(stored[4]) // 2
  content[place : place + 100] = bytes(100)
  path.write_bytes(content)

  clips, read = open_split(tmp_path, tokenizer)
  assert clips.ids == [
    *(records[0].sample_id, "record 1", records[2].sample_id, "record 3"),
    *(records[4].sample_id if known else "record 4", records[5].sample_id),
  ]
  lines = [only(read(number)) for number in range(6)]
  assert [type(line) for line in lines] == [Part, Hypothesis, Part, Hypothesis, Hypothesis, Part]
  assert lines[0].utterance.sample_id == records[0].sample_id
  assert lines[0].last and not len(lines[0].utterance.target)
  reasons = {number: lines[number].extra[ERROR] for number in (1, 3, 4)}
  assert reasons[1].startswith("not a tf.train.Example of 9 bytes")
  assert reasons[3] == "audio holds NaN or infinite samples, or of more than 1e+15"
  assert "record 4 of the shards from" in reasons[4] and "is damaged" in reasons[4]
  assert (lines[3].id, lines[3].reference) == ("spoilt", "one"), "as the record says"


def test_a_prompt_that_no_row_holds_fails_alone(tmp_path, tokenizer):
  records = [
    Record(sample_id=name, audio=np.full(16_000, 0.1, np.float32), text="one", prompt=context)
    for name, context in (("short", "one"), ("long", "one " * 100))
  ]
  write(tmp_path, [encode_example(record) for record in records])
  clips, read = open_split(tmp_path, tokenizer)
  most = len(only(read(0)).utterance.prompt)
  assert len(only(read(1)).utterance.prompt) > most
  read = UtteranceReader(clips, inputs_of(tmp_path), tokenizer, longest_prompt=most)
  assert isinstance(only(read(0)), Part)
  reason = only(read(1)).extra[ERROR]
  assert reason.startswith("the prompt of 1 s of audio and its context has ")
  assert reason.endswith(
    f" tokens, at most {most} can be decoded; cut the clip or shorten the context"
  )


class Failing(Clips):
  """Clips that raise what is thrown at them."""

  def __init__(self, error: Exception) -> None:
    self.ids, self.where, self._error = ["a"], "nowhere", error

  def record(self, place: int) -> Record:
    raise self._error


def caused(error: Exception, cause: Exception) -> Exception:
  error.__cause__ = cause
  return error


def test_a_failed_request_is_no_fault_of_the_clip(tmp_path, tokenizer):
  inputs = inputs_of(tmp_path)
  request = OSError("gs://bucket/a.wav: cannot read it (503); check the name")
  for error in (request, caused(RecordError("bad"), caused(RecordError("bad"), request))):
    with pytest.raises(OSError, match=r"^gs://bucket/a.wav: cannot read it"):
      only(UtteranceReader(Failing(error), inputs, tokenizer)(0))
  missing = FileNotFoundError("gs://bucket/a.wav: no such file")
  damaged = OSError(5, "Input/output error", "a.wav")
  for cause in (missing, damaged):
    line = only(UtteranceReader(Failing(caused(RecordError("bad"), cause)), inputs, tokenizer)(0))
    assert (line.id, line.extra[ERROR]) == ("a", "bad")


def test_text_that_no_file_can_hold_fails_alone(tmp_path, tokenizer):
  class Odd(Failing):
    def record(self, place: int) -> Record:
      return Record(sample_id="\ud800", audio=np.ones(100, np.float32), text="one")

  line = only(UtteranceReader(Odd(ValueError()), inputs_of(tmp_path), tokenizer)(0))
  assert line.extra[ERROR] == "sample_id is no valid text: lone surrogate at 0"


def noise(seconds: float, silent: tuple[float, float] = (0, 0)) -> np.ndarray:
  samples = np.random.default_rng(0).normal(scale=0.1, size=round(seconds * SAMPLE_RATE))
  first, last = (round(edge * SAMPLE_RATE) for edge in silent)
  samples[first:last] = 0
  return samples.astype(np.float32)


class Stored(Recordings):
  """A recording; one that is too long for a record can only be streamed."""

  def __init__(self, samples: np.ndarray, most: float, error: Exception | None = None) -> None:
    self.ids, self.where, self._samples, self._error = ["talk"], "nowhere", samples, error
    self._most = most

  def record(self, place: int) -> Record:
    try:
      check_length(len(self._samples) / SAMPLE_RATE, self._most)
    except AudioError as error:
      raise RecordError(str(error), "talk") from caused(AudioError("in between"), error)
    return Record(sample_id="talk", audio=self._samples, text="said", speaker="a")

  def stream(self, place: int) -> tuple[Fields, Iterator[np.ndarray]]:
    fields = dataclasses.replace(self.fields(place), text="said", speaker="a")
    return fields, self._blocks()

  def _blocks(self) -> Iterator[np.ndarray]:
    yield from np.array_split(self._samples, 7)
    if self._error:
      raise self._error


def read_stored(clips: Clips, tmp_path: pathlib.Path, tokenizer: Tokenizer, **options) -> list:
  reader = UtteranceReader(clips, inputs_of(tmp_path), tokenizer, piece_seconds=5.0, **options)
  return list(reader(0))


def test_long_recordings_are_cut_whether_they_fit_a_record_or_not(tmp_path, tokenizer):
  samples = noise(21, silent=(5, 15))
  parts = read_stored(Stored(samples, 1_200), tmp_path, tokenizer)
  streamed = read_stored(Stored(samples, 20), tmp_path, tokenizer)
  for each in (parts, streamed):
    assert sum(part.seconds for part in each) == 21.0
    assert [part.last for part in each] == [False] * (len(each) - 1) + [True]
    assert any(part.utterance is None for part in each), "silence is not decoded"
    assert {part.fields for part in each} == {each[0].fields}
    starts = np.cumsum([0.0, *(part.seconds for part in each)])[:-1]
    np.testing.assert_allclose([part.start for part in each], starts)
    heard = [part.utterance.sample_id for part in each if part.utterance]
    assert heard == [f"talk from {part.start:.3f} s" for part in each if part.utterance]
  assert [part.seconds for part in parts] == [part.seconds for part in streamed]
  sounds = [
    np.concatenate([part.utterance.samples for part in each if part.utterance])
    for each in (parts, streamed)
  ]
  np.testing.assert_array_equal(*sounds)


def test_a_clip_as_long_as_a_piece_stays_whole(tmp_path, tokenizer):
  part = only(iter(read_stored(Stored(noise(5), 1_200), tmp_path, tokenizer)))
  assert part.utterance.sample_id == "talk" and part.last


def test_a_recording_that_turns_out_bad_fails_alone(tmp_path, tokenizer):
  clips = Stored(noise(21), 20, AudioError("cut short"))
  *parts, line = read_stored(clips, tmp_path, tokenizer)
  assert parts and not any(part.last for part in parts)
  assert (line.id, line.extra[ERROR]) == ("talk", "cut short")
  with pytest.raises(OSError, match="503"):
    read_stored(
      Stored(noise(21), 20, caused(AudioError("x"), OSError("gs://b: 503"))), tmp_path, tokenizer
    )
  long = read_stored(Stored(noise(21), 20), tmp_path, tokenizer, longest_prompt=5)
  assert long[0].extra[ERROR].startswith("piece from 0.000 s: the prompt of 3 s of audio")


def test_lines_of_pieces_are_joined():
  fields = dataclasses.replace(Stored(noise(1), 1).fields(0), speaker="a", text="one two")
  parts = [
    Part(fields=fields, start=start, seconds=2.5, utterance=None, last=start == 5.0)
    for start in (0.0, 2.5, 5.0)
  ]
  one, two = (
    Hypothesis(
      id=name,
      reference="",
      hypothesis=text,
      complete=reason == "stop",
      extra={"speaker": "a", "finish_reason": reason, "words": [{"word": text} | times]},
    )
    for name, text, reason, times in (
      ("talk from 0 s", "one", "length", {}),
      ("talk from 5 s", "two", "stop", {"start": 0.25, "end": 1.0}),
    )
  )
  line = join_lines(parts, [one, None, two])
  assert (line.id, line.hypothesis, line.reference) == ("talk", "one two", "one two")
  assert (line.duration, line.complete) == (7.5, False)
  assert line.extra == {
    "speaker": "a",
    "finish_reason": "length",
    "words": [{"word": "one"}, {"word": "two", "start": 5.25, "end": 6.0}],
    "segments": [
      {"start": 0.0, "end": 2.5, "text": "one", "complete": False, "finish_reason": "length"},
      {"start": 5.0, "end": 7.5, "text": "two", "complete": True, "finish_reason": "stop"},
    ],
  }
  assert join_lines(parts[:1], [one]) is one
  silent = join_lines(parts[:1], [None])
  assert (silent.hypothesis, silent.extra["finish_reason"]) == ("", "no_speech")
