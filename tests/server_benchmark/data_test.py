"""Data sets of a benchmark: the same clips from records, parquet and JSON lines."""

import json

import numpy as np
import pytest

from maxtext_ext.records.writer import ShardWriter
from maxtext_ext.server_benchmark.data import DataOptions, open_data
from tests.server_benchmark import corpora

PLAIN = DataOptions()


def read(path, options=PLAIN, left_out=None):
  (data,) = open_data([str(path)], options)
  return list(data.clips(set(), [] if left_out is None else left_out))


def test_every_kind_of_data_gives_the_same_clips(tmp_path):
  corpora.write_jsonl(tmp_path / "lines" / "test.jsonl", 3)
  corpora.write_parquet(tmp_path / "eval-d1" / "data" / "test-00000-of-00001.parquet", 3)
  records = [corpora.record(number) for number in range(3)]
  corpora.write_records(tmp_path / "mine" / "test-00000-of-00002.array_record", *records[:1])
  corpora.write_records(tmp_path / "mine" / "test-00001-of-00002.array_record", *records[1:])
  corpora.write_records(tmp_path / "mine" / "train-00000-of-00001.array_record", *records)
  for name in ("lines", "eval-d1", "mine"):
    clips = read(tmp_path / name, DataOptions(language="he"))
    assert [clip.text for clip in clips] == [each.text for each in records]
    for clip, each in zip(clips, records, strict=True):
      np.testing.assert_array_equal(np.rint(clip.as_float32() * 32_768), each.audio)
      assert (clip.dataset_name, clip.language) == (name, "Hebrew")
    assert len({clip.sample_id for clip in clips}) == 3
  assert len(read(tmp_path / "mine" / "train-00000-of-00001.array_record")) == 3
  assert len(read(tmp_path / "mine", DataOptions(split="train"))) == 3


def test_common_voice_has_other_columns(tmp_path):
  path = tmp_path / "he" / "test-00000-of-00001.parquet"
  corpora.write_parquet(path, 2, text="sentence", client_id="s1", locale="he", variant="")
  clips = read(tmp_path / "he")
  assert [clip.text for clip in clips] == [corpora.record(number).text for number in range(2)]
  assert {(clip.language, clip.speaker) for clip in clips} == {("Hebrew", "s1")}


def test_what_records_state_stays(tmp_path):
  mine = corpora.record(0, dataset_name="own", language="Arabic", speaker="s1")
  corpora.write_records(tmp_path / "a.array_record", mine)
  (clip,) = read(tmp_path / "a.array_record", DataOptions(language="he"))
  assert (clip.dataset_name, clip.language, clip.speaker) == ("own", "Arabic", "s1")
  (clip,) = read(tmp_path / "a.array_record", DataOptions(language="None"))
  assert clip.language == "Arabic"


def test_records_that_cannot_be_used_are_left_out_with_the_reason(tmp_path):
  path = tmp_path / "test.jsonl"
  corpora.write_jsonl(path, 2)
  lines = path.read_text().splitlines()
  missing = json.dumps({"id": "gone", "audio": "gone.wav", "text": "x"})
  path.write_text("\n".join([lines[0], missing, "nonsense", lines[0], lines[1]]) + "\n")
  left_out = []
  assert [clip.sample_id for clip in read(path, left_out=left_out)] == ["clip0", "clip1"]
  assert [line.split(": ")[0] for line in left_out] == [f"{path}:{row}" for row in (2, 3, 4)]
  assert "gone.wav" in left_out[0]
  assert left_out[2].endswith("id 'clip0' occurred before")


def test_an_empty_text_is_a_reference_and_a_missing_one_is_none(tmp_path):
  path = tmp_path / "test.jsonl"
  corpora.write_jsonl(path, 3)
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  lines[0]["text"] = ""
  del lines[1]["text"]
  path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
  left_out = []
  texts = {clip.sample_id: clip.text for clip in read(path, left_out=left_out)}
  assert texts == {"clip0": "", "clip2": corpora.record(2).text}
  assert len(left_out) == 1 and "text is missing or empty" in left_out[0]


def test_a_damaged_record_is_left_out(tmp_path):
  path = str(tmp_path / "a.array_record")
  with ShardWriter(path) as writer:
    writer.write(b"nonsense")
  left_out = []
  assert read(path, left_out=left_out) == []
  assert left_out[0].startswith(f"{path}:0: not a tf.train.Example")


def test_clips_of_two_data_sets_have_keys_of_their_own(tmp_path):
  paths = [corpora.write_jsonl(tmp_path / f"{name}.jsonl", 2) for name in ("a", "b")]
  seen, left_out = set(), []
  for data in open_data(paths, DataOptions()):
    list(data.clips(seen, left_out))
  assert seen == {(name, f"clip{number}") for name in "ab" for number in range(2)}
  assert not left_out
  shared = corpora.write_jsonl(tmp_path / "c.jsonl", 2, dataset="a")
  (data,) = open_data([shared], DataOptions())
  assert list(data.clips(seen, left_out)) == []
  assert len(left_out) == 2


def test_the_version_follows_the_files(tmp_path):
  path = corpora.write_jsonl(tmp_path / "a.jsonl", 2)
  versions = [open_data([path], DataOptions())[0].version for _ in range(2)]
  assert versions[0] == versions[1]
  corpora.write_jsonl(tmp_path / "a.jsonl", 3)
  assert open_data([path], DataOptions())[0].version != versions[0]


def test_data_that_cannot_be_used_is_refused(tmp_path):
  with pytest.raises(ValueError, match="no input found"):
    open_data([str(tmp_path / "nothing.jsonl")], DataOptions())
  corpora.write_records(tmp_path / "x" / "test-00000-of-00001.array_record", corpora.record(0))
  with pytest.raises(ValueError, match="no shards of split 'train'"):
    open_data([str(tmp_path / "x")], DataOptions(split="train"))
  with pytest.raises(ValueError, match=r"^--text-key: .* holds records"):
    open_data([str(tmp_path / "x")], DataOptions(text_key="sentence"))
  lines = corpora.write_jsonl(tmp_path / "x.jsonl", 1)
  with pytest.raises(ValueError, match="both named x; rename one"):
    open_data([lines, str(tmp_path / "x")], DataOptions())
