"""JSONL lines and the audio that they name."""

import json

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.records.schema import RecordError
from maxtext_ext.records.sources.entry import Bad, Good
from maxtext_ext.records.sources.jsonl import open_shards, read_line, split_language
from maxtext_ext.records.sources.options import SourceOptions


@pytest.fixture
def folder(tmp_path) -> str:
  tone = np.sin(np.arange(800) / 5)
  soundfile.write(tmp_path / "a.wav", tone, 16_000)
  soundfile.write(tmp_path / "b.flac", np.stack([tone, tone], axis=1), 8_000)
  soundfile.write(tmp_path / "silent.wav", 0 * tone, 16_000)
  return str(tmp_path)


def line(**fields: object) -> bytes:
  return json.dumps({"audio": "a.wav", "text": "hi"} | fields).encode()


def test_a_full_line(folder):
  content = line(audio="b.flac", id="x/7", language="Arabic", dataset="mgb2", prompt="names: Noor")
  record = read_line(content, folder)
  assert record.audio.shape == (1_600,) and record.audio.dtype == np.float32
  fields = (record.sample_id, record.text, record.language, record.dataset_name, record.prompt)
  assert fields == ("x/7", "hi", "Arabic", "mgb2", "names: Noor")


def test_defaults(folder):
  record = read_line(line(extra=[1]), folder)
  assert (record.sample_id, record.language, record.dataset_name) == ("a.wav", None, "")
  assert read_line(line(id=12), folder).sample_id == "12"
  assert read_line(line(audio=f"{folder}/a.wav"), "elsewhere").audio.shape == (800,)
  assert read_line(b"\xef\xbb\xbf" + line(), folder).text == "hi"  # a byte order mark


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("hello", ("hello", None)),
    ("language English<asr_text>hello", ("hello", "English")),
    ("language None<asr_text>hm", ("hm", None)),
    ("language English<asr_text>a<asr_text>b", ("a<asr_text>b", "English")),
    ("language lessons are fun", ("language lessons are fun", None)),
    ("my<asr_text>own", ("my<asr_text>own", None)),
  ],
)
def test_split_language(text, expected):
  assert split_language(text) == expected


def test_official_form(folder):
  record = read_line(line(text="language Hebrew<asr_text>שלום"), folder)
  assert (record.text, record.language) == ("שלום", "Hebrew")


@pytest.mark.parametrize(
  ("content", "reason", "sample_id"),
  [
    (b"{", "line is not JSON", ""),
    (b"[" * 100_000, "line is not JSON", ""),
    (b"[]", "line is a JSON list", ""),
    (b'{"audio": "a.wav", "id": "x", "text": "\xff"}', r"not UTF-8 \(byte 0xff at 39\)", "x"),
    (b'\xff{"audio": "a.wav"}', "not UTF-8", ""),
    (b'{"text": "hi", "id": "x"}', "no 'audio'", "x"),
    (line(audio=3), "'audio' is 3, expected a string", ""),
    (line(id=[1]), r"'id' is \[1\], expected a string", ""),
    (line(id=True), "'id' is True", ""),
    (line(text=None), "text is missing or empty", "a.wav"),
    (line(text=" "), "text is missing or empty", "a.wav"),
    (line(text=["hi"]), "'text' is ", "a.wav"),
    (line(text="language English<asr_text>"), "text is missing or empty", "a.wav"),
    (
      line(text="language English<asr_text>x", language="Arabic"),
      "'Arabic', but the text",
      "a.wav",
    ),
    (line(audio="none.wav"), "none.wav: audio file not found", "none.wav"),
    (line(audio="silent.wav", id="s"), "silent.wav: audio is silent", "s"),
    (line(audio="\0"), "cannot read the audio file", "\0"),
  ],
)
def test_bad_lines(folder, content, reason, sample_id):
  with pytest.raises(RecordError, match=reason) as caught:
    read_line(content, folder)
  assert caught.value.sample_id == sample_id


@given(
  st.lists(st.sampled_from(["{}", "", "  ", "[]"]), min_size=1, max_size=20),
  st.integers(1, 5),
  st.booleans(),
)
def test_shards_hold_every_line_once(tmp_path_factory, lines, records_per_shard, newline_at_end):
  path = tmp_path_factory.mktemp("lines") / "x.jsonl"
  path.write_text("\n".join(lines) + "\n" * newline_at_end)
  numbers = [number for number, content in enumerate(lines, 1) if content.strip()]
  if not numbers:
    with pytest.raises(ValueError, match="no lines"):
      open_shards(str(path), SourceOptions(records_per_shard=records_per_shard))
    return
  shards = open_shards(str(path), SourceOptions(records_per_shard=records_per_shard))
  assert all(shard.count == records_per_shard for shard in shards[:-1])
  read = [[entry.position for entry in shard.entries()] for shard in shards]
  assert [len(part) for part in read] == [shard.count for shard in shards]
  assert [number for part in read for number in part] == numbers


def test_entries(folder):
  with open(f"{folder}/x.jsonl", "wb") as file:
    file.write(b"\n".join([line(), b"", b"junk", line(audio="b.flac")]))
  (shard,) = open_shards(folder, SourceOptions())
  first, second, third = shard.entries()
  assert isinstance(first, Good) and first.serialized is None and first.record.sample_id == "a.wav"
  assert isinstance(second, Bad) and (second.file, second.position) == (f"{folder}/x.jsonl", 3)
  assert isinstance(third, Good) and (third.position, third.done) == (4, 1.0)
