"""Clips of a split: their ids, their utterances, and those that cannot be read."""

import pathlib

import numpy as np
import pytest

from maxtext_ext.decode.clips import Clips, SplitClips, UtteranceReader
from maxtext_ext.evaluate.hypothesis import ERROR, Hypothesis
from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.datasets import Datasets
from maxtext_ext.input.reading import open_data
from maxtext_ext.input.utterance import Utterance
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY
from maxtext_ext.records.schema import Record, RecordError, encode_example
from maxtext_ext.records.writer import ShardWriter
from maxtext_ext.text.tokenizer import Tokenizer, train_char_tokenizer
from tests import tiny


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Tokenizer:
  folder = tmp_path_factory.mktemp("tokenizer")
  return train_char_tokenizer(tiny.WORDS, folder, ["English", "Hebrew"])


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
  lines = [read(number) for number in range(6)]
  assert [type(line) for line in lines] == [
    *(Utterance, Hypothesis, Utterance, Hypothesis, Hypothesis, Utterance)
  ]
  assert lines[0].sample_id == records[0].sample_id and not len(lines[0].target)
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
  most = len(read(0).prompt)
  assert len(read(1).prompt) > most
  read = UtteranceReader(clips, inputs_of(tmp_path), tokenizer, longest_prompt=most)
  assert isinstance(read(0), Utterance)
  reason = read(1).extra[ERROR]
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
      UtteranceReader(Failing(error), inputs, tokenizer)(0)
  missing = FileNotFoundError("gs://bucket/a.wav: no such file")
  damaged = OSError(5, "Input/output error", "a.wav")
  for cause in (missing, damaged):
    line = UtteranceReader(Failing(caused(RecordError("bad"), cause)), inputs, tokenizer)(0)
    assert (line.id, line.extra[ERROR]) == ("a", "bad")


def test_text_that_no_file_can_hold_fails_alone(tmp_path, tokenizer):
  class Odd(Failing):
    def record(self, place: int) -> Record:
      return Record(sample_id="\ud800", audio=np.ones(100, np.float32), text="one")

  line = UtteranceReader(Odd(ValueError()), inputs_of(tmp_path), tokenizer)(0)
  assert line.extra[ERROR] == "sample_id is no valid text: lone surrogate at 0"
