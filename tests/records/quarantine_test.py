"""quarantine.jsonl names what was left out."""

import json
import pickle

import pytest

from maxtext_ext.records.quarantine import (
  REASONS_KEPT,
  Quarantine,
  Reason,
  error_of,
  read_reasons,
  too_many,
)


def lines(path) -> list[dict]:
  return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def test_lines_counts_and_reasons(tmp_path):
  path = tmp_path / "q.jsonl"
  with Quarantine(str(path), ["train"]) as quarantine:
    for position in range(REASONS_KEPT + 3):
      quarantine.add("מזהה/1\u2028", "in.jsonl", position, "too \udcff odd")
    assert not path.exists()
  assert quarantine.count == REASONS_KEPT + 3
  assert len(quarantine.reasons) == REASONS_KEPT
  assert quarantine.reasons[2] == r"in.jsonl:2: too \udcff odd"
  assert lines(path)[2] == {
    "split": "train",
    "id": "מזהה/1\u2028",
    "file": "in.jsonl",
    "position": 2,
    "reason": "too \udcff odd",
  }


@pytest.mark.parametrize(
  ("splits", "kept"),
  [
    (["train"], ["test", "train+dev", "dev"]),
    (["dev", "train"], ["test"]),
    (["dev", "test"], ["train", "train+dev"]),
  ],
)
def test_splits_share_a_file(tmp_path, splits, kept):
  path = tmp_path / "q.jsonl"
  for number, label in enumerate(["test", "train", "train+dev", "dev"]):
    with Quarantine(str(tmp_path / f"{number}"), label.split("+")) as part:
      part.add("\u2028", "f", 0, "r")
  path.write_bytes(b"".join((tmp_path / f"{number}").read_bytes() for number in range(4)))
  with Quarantine(str(path), splits) as quarantine:
    quarantine.copy_other_splits(str(path))
    quarantine.add("new", "f", 1, "r")
  assert quarantine.count == 1
  assert [line["split"] for line in lines(path)] == [*kept, "+".join(splits)]


def test_an_error_leaves_the_file_that_was_there(tmp_path):
  path = tmp_path / "q.jsonl"
  with Quarantine(str(path), ["train"]):
    pass
  with pytest.raises(ZeroDivisionError), Quarantine(str(path), ["train"]) as quarantine:
    quarantine.add("a", "f", 0, "r")
    raise ZeroDivisionError
  assert path.read_text() == ""
  assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"text\n", b"[]\n", b"{}\n", b"\xff\n"])
def test_a_foreign_file_is_not_overwritten(tmp_path, content):
  path = tmp_path / "q.jsonl"
  path.write_bytes(content)
  with (
    pytest.raises(ValueError, match="not a quarantine file"),
    Quarantine(str(path), ["train"]) as quarantine,
  ):
    quarantine.copy_other_splits(str(path))
  assert path.read_bytes() == content


@pytest.mark.parametrize(
  ("read", "bad", "fraction", "ended", "expected"),
  [
    (1, 1, 0.01, False, False),  # the first few say little
    (10, 10, 0.01, False, False),
    (11, 11, 0.01, False, True),
    (1_000, 10, 0.01, False, False),
    (5_000, 50, 0.01, False, False),
    (5_000, 51, 0.01, False, True),
    (1, 1, 0.01, True, True),
    (99, 1, 0.01, True, True),
    (100, 1, 0.01, True, False),
    (3, 3, 1.0, True, False),
    (1, 1, 0.0, False, True),
    (0, 0, 0.0, True, False),
  ],
)
def test_too_many(read, bad, fraction, ended, expected):
  assert too_many(read, bad, fraction, ended=ended) == expected


def test_the_error_says_how_many_and_which():
  error = pickle.loads(pickle.dumps(error_of(200, 3, 0.01, ["a:1: x", "b:2: y"])))
  assert "3 of 200 records are bad (1.5%), over max_bad_fraction=0.01" in error.summary
  assert str(error).splitlines() == [error.summary, "a:1: x", "b:2: y"]


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
