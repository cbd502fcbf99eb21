"""Clips of folders of sound and of JSONL files, local and in a bucket."""

import dataclasses
import json

import numpy as np
import pytest
import soundfile

from maxtext_ext.audio.limits import AudioError
from maxtext_ext.decode.sound_files import open_files
from maxtext_ext.files import storage
from maxtext_ext.records.schema import RecordError


@pytest.fixture
def sounds(place, tmp_path) -> str:
  """A folder with two sound files, one that is none, and notes."""
  for name, seconds in (("b/1.flac", 1.0), ("a.WAV", 0.5)):
    local = tmp_path / "made" / name
    local.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(
      local, np.full(int(seconds * 16_000), 0.25), 16_000, format=name[-4:].strip(".")
    )
    storage.write_bytes(storage.join(place, "in", name), local.read_bytes())
  storage.write_bytes(storage.join(place, "in", "c.mp3"), b"no sound")
  for name in ("notes.txt", ".hidden.wav"):
    storage.write_bytes(storage.join(place, "in", name), b"")
  return storage.join(place, "in")


def test_a_folder(sounds):
  clips = open_files(sounds)
  assert list(clips.ids) == ["a.WAV", "b/1.flac", "c.mp3"]
  first = clips.record(0)
  assert (first.sample_id, first.seconds, first.text) == ("a.WAV", 0.5, "")
  assert clips.record(1).seconds == 1.0
  with pytest.raises(AudioError, match=r"c\.mp3"):
    clips.record(2)
  assert clips.fields(2).sample_id == "c.mp3"
  fields, blocks = clips.stream(1)
  assert fields.sample_id == "b/1.flac"
  np.testing.assert_array_equal(np.concatenate(list(blocks)), clips.record(1).audio)
  with pytest.raises(AudioError, match=r"c\.mp3"):
    list(clips.stream(2)[1])


def test_a_file(sounds):
  clips = open_files(storage.join(sounds, "b/1.flac"))
  assert list(clips.ids) == ["1.flac"]
  assert clips.record(0).seconds == 1.0


LINES = (
  {"audio": "a.WAV", "text": "hello", "language": "he", "dataset": "d", "speaker": 7},
  {"audio_filepath": "b/1.flac", "offset": 0.25, "duration": 0.5},
  {"audio": "b/1.flac", "id": "whole", "text": ""},
  {"audio": "none.wav", "text": "never said"},
  {"audio": ["a"], "text": "no path"},
)


def manifest(sounds: str, *lines: object) -> str:
  path = storage.join(sounds, "clips.jsonl")
  storage.write_bytes(path, "".join(f"{json.dumps(line)}\n\n" for line in lines).encode())
  return path


def test_a_text_may_be_unknown_or_empty(sounds):
  assert not open_files(sounds).has_reference(0)
  path = manifest(sounds, *LINES, {"audio": "a.WAV", "id": "null", "text": None})
  storage.write_bytes(path, storage.read_bytes(path) + b"no JSON")
  clips = open_files(path)
  known = [clips.has_reference(place) for place in range(len(clips.ids))]
  assert known == [True, False, True, True, True, False, False]


def test_a_manifest(sounds):
  path = manifest(sounds, *LINES)
  storage.write_bytes(path, storage.read_bytes(path) + b"no JSON")
  clips = open_files(path)
  names = ["a.WAV", "b/1.flac#t=0.25,0.75", "whole", "none.wav", "clips.jsonl:9", "clips.jsonl:11"]
  assert clips.ids == names
  first, part, whole = (clips.record(number) for number in range(3))
  assert (first.text, first.language, first.dataset_name) == ("hello", "Hebrew", "d")
  assert (first.seconds, first.speaker) == (0.5, "7")
  assert (part.sample_id, part.seconds, part.text) == ("b/1.flac#t=0.25,0.75", 0.5, "")
  assert whole.seconds == 1.0
  for number, reason in ((3, r"none\.wav: audio file not found"), (4, "audio"), (5, "not JSON")):
    with pytest.raises(RecordError, match=reason):
      clips.record(number)
  for number in range(3):
    fields, blocks = clips.stream(number)
    assert fields == dataclasses.replace(clips.fields(number), sample_id=names[number])
    np.testing.assert_array_equal(np.concatenate(list(blocks)), clips.record(number).audio)
  with pytest.raises(AudioError, match=r"none\.wav: audio file not found"):
    list(clips.stream(3)[1])
  assert clips.fields(3).text == "never said"
  assert clips.fields(5).text == ""


def test_ids_that_occur_twice_are_told_before_anything_is_decoded(sounds):
  path = manifest(sounds, LINES[2], LINES[0], LINES[2])
  with pytest.raises(ValueError, match=r"clips.jsonl:5: id 'whole' occurred before, at line 1;"):
    open_files(path)
  assert len(open_files(manifest(sounds, LINES[2], LINES[2] | {"dataset": "other"})).ids) == 2


@pytest.mark.parametrize(
  ("name", "said"),
  [
    ("none", r"none: no such file or folder; expected a JSONL file"),
    ("text", r"text: no sound files in this folder \(\.wav, .*for a manifest name the JSONL file"),
    ("empty.jsonl", "no lines in it"),
    ("whole.json", "a single JSON document, expected an object on each line"),
  ],
)
def test_what_holds_no_clips(place, name, said):
  storage.write_bytes(storage.join(place, "text", "a.txt"), b"")
  storage.write_bytes(storage.join(place, "empty.jsonl"), b"\n")
  storage.write_bytes(storage.join(place, "whole.json"), b"[\n{}\n]")
  with pytest.raises(ValueError, match=said):
    open_files(storage.join(place, name))
