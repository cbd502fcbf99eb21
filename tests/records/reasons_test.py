import json

import pytest

from maxtext_ext.records.reasons import Reason, read_reasons


def write(path, entries):
  lines = [
    {"split": "train", "id": str(i), "file": "in.jsonl", "position": i} | entry
    for i, entry in enumerate(entries)
  ]
  path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_reasons_that_differ_in_numbers_and_names_are_one(tmp_path):
  path = tmp_path / "quarantine.jsonl"
  write(
    path,
    [
      {"reason": "audio is silent: all 160 samples are zero"},
      {"reason": "duplicate id: 'a' is at x:1 already"},
      {"reason": "duplicate id: 'b' is at x:22 already"},
      {"reason": "audio is silent: all 99 samples are zero", "split": "test"},
      {"reason": "duplicate id: 'c' is at x:3 already"},
    ],
  )
  assert read_reasons(str(path)) == [
    Reason(split="train", count=3, example="in.jsonl:1: duplicate id: 'a' is at x:1 already"),
    Reason(split="train", count=1, example="in.jsonl:0: audio is silent: all 160 samples are zero"),
    Reason(split="test", count=1, example="in.jsonl:3: audio is silent: all 99 samples are zero"),
  ]


def test_no_file_no_reasons(tmp_path):
  assert read_reasons(str(tmp_path / "quarantine.jsonl")) == []


def test_a_file_of_another_kind(tmp_path):
  path = tmp_path / "quarantine.jsonl"
  path.write_text("hello\n")
  with pytest.raises(ValueError, match="is not a quarantine file"):
    read_reasons(str(path))
