import json
import os

import hypothesis.strategies as st
import numpy as np
import pytest
import soundfile
from hypothesis import given

from maxtext_ext.prepare.export import export, format_line, wav_name
from maxtext_ext.records.manifest import shard_name
from maxtext_ext.records.schema import Record, decode_example, encode_example
from maxtext_ext.records.writer import ShardWriter


def clip(number, *, audio=None, **fields):
  if audio is None:
    audio = np.random.default_rng(number).normal(0, 0.3, 2_000 + number).astype(np.float32)
  return Record(
    **{"sample_id": f"clip-{number}", "text": f"שלום {number}", "language": "Hebrew"} | fields,
    audio=audio,
  )


def write_shards(folder, shards, split="train"):
  for index, records in enumerate(shards):
    os.makedirs(folder, exist_ok=True)
    with ShardWriter(os.path.join(folder, shard_name(split, index, len(shards)))) as writer:
      for record in records:
        writer.write(encode_example(record))
  return str(folder)


def read_lines(path):
  with open(path, encoding="utf-8") as file:
    return [json.loads(line) for line in file]


def snapshot(folder):
  return {
    os.path.join(parent, name): os.stat(os.path.join(parent, name)).st_mtime_ns
    for parent, _, names in os.walk(folder)
    for name in names
  }


@pytest.fixture
def two_sets(tmp_path):
  one = write_shards(tmp_path / "one", [[clip(0), clip(1)], [clip(2)]])
  quiet = np.array([0.25, -1.5, 1.5, 0.0], np.float32)
  two = write_shards(tmp_path / "two", [[clip(3, audio=quiet, language=None, prompt="שמות")]])
  return [("one", one), ("two", two)]


def test_lines_and_samples_are_those_of_the_records(two_sets, tmp_path):
  summary = export(two_sets, "train", str(tmp_path / "out"))
  assert summary.path == str(tmp_path / "out" / "train.jsonl")
  assert (summary.lines, summary.left_out, summary.shards, summary.made) == (4, {}, 3, 3)
  lines = read_lines(summary.path)
  assert [line["text"] for line in lines] == [
    "language Hebrew<asr_text>שלום 0",
    "language Hebrew<asr_text>שלום 1",
    "language Hebrew<asr_text>שלום 2",
    "language None<asr_text>שלום 3",
  ]
  assert [line.get("prompt") for line in lines] == [None, None, None, "שמות"]
  for number, line in enumerate(lines[:3]):
    samples, rate = soundfile.read(line["audio"], dtype="int16")
    expected = decode_example(encode_example(clip(number), audio="pcm16")).audio
    np.testing.assert_array_equal(samples, expected)
    assert (rate, soundfile.info(line["audio"]).subtype) == (16_000, "PCM_16")
  samples, _ = soundfile.read(lines[3]["audio"], dtype="int16")
  assert samples.tolist() == [8192, -32768, 32767, 0]


def test_a_second_export_writes_nothing_and_several_processes_the_same(two_sets, tmp_path):
  out = str(tmp_path / "out")
  first = export(two_sets, "train", out)
  before = snapshot(out)
  steps = []
  second = export(two_sets, "train", out, workers=2, progress=lambda *step: steps.append(step))
  assert (second.lines, second.made) == (first.lines, 0)
  assert snapshot(out) == before
  assert steps == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.integration_test
def test_several_processes_write_the_same(two_sets, tmp_path):
  export(two_sets, "train", str(tmp_path / "a"))
  export(two_sets, "train", str(tmp_path / "b"), workers=2)
  expected = read_lines(tmp_path / "a" / "train.jsonl")
  got = read_lines(tmp_path / "b" / "train.jsonl")
  folders = str(tmp_path / "a"), str(tmp_path / "b")
  assert [{**line, "audio": line["audio"].replace(*folders)} for line in expected] == got
  for line in got:
    with open(line["audio"], "rb") as ours, open(line["audio"].replace(*folders[::-1]), "rb") as b:
      assert ours.read() == b.read()


def test_an_export_that_broke_off_goes_on(two_sets, tmp_path, monkeypatch):
  from maxtext_ext.files import storage

  out = str(tmp_path / "out")
  write = storage.write_bytes

  def fail_at_the_second_shard(path, data):
    if path.endswith("clip-2.wav"):
      raise OSError("disk full")
    write(path, data)

  monkeypatch.setattr(storage, "write_bytes", fail_at_the_second_shard)
  with pytest.raises(OSError, match="disk full"):
    export(two_sets, "train", out)
  assert not os.path.exists(f"{out}/train.jsonl")
  monkeypatch.undo()
  assert export(two_sets, "train", out).made == 2


def test_a_shard_that_changed_is_exported_again(two_sets, tmp_path):
  out = str(tmp_path / "out")
  export(two_sets, "train", out)
  write_shards(two_sets[1][1], [[clip(7), clip(8)]])
  summary = export(two_sets, "train", out)
  assert (summary.lines, summary.made) == (5, 1)
  assert [line["text"][-1] for line in read_lines(summary.path)] == list("01278")


def test_records_out_of_scale_are_left_out_and_counted(tmp_path):
  loud = clip(1, audio=np.array([0.1, 20.0], np.float32))
  folder = write_shards(tmp_path / "set", [[clip(0), loud]])
  for _ in range(2):
    summary = export([("set", folder)], "train", str(tmp_path / "out"))
    assert (summary.lines, summary.left_out) == (1, {"out of scale for 16 bits": 1})


def test_no_shards(tmp_path):
  with pytest.raises(ValueError, match="no shards of split 'test'"):
    export([("set", str(tmp_path))], "test", str(tmp_path / "out"))


@pytest.mark.parametrize(
  ("sample_id", "name"),
  [
    ("0af3-11.b_c", "0af3-11.b_c.wav"),
    ("a/b", "a-b=0debd2558bca8fa0.wav"),
    ("A", None),
    ("..", None),
    ("con" * 60, None),
    ("שלום", None),
    ("\ud800", None),
  ],
)
def test_names_of_files(sample_id, name):
  got = wav_name(sample_id)
  assert got == name or (name is None and "=" in got)
  assert len(got.encode()) < 120
  assert "/" not in got and not got.startswith(".")


IDS = st.text(st.characters(codec=None), min_size=1, max_size=30)


@given(IDS, IDS)
def test_different_ids_have_different_names_on_any_file_system(one, other):
  assert (wav_name(one).lower() == wav_name(other).lower()) == (one == other)


def test_a_line_is_one_line():
  line = format_line(clip(0, text="שורה\u2028אחת"), "/x/a.wav")
  assert line.endswith("\n") and line.count("\n") == 1
  assert json.loads(line)["text"] == "language Hebrew<asr_text>שורה\u2028אחת"
