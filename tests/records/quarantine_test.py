"""quarantine.jsonl names what was left out."""

import json

import pytest

from maxtext_ext.records.quarantine import REASONS_KEPT, Quarantine


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
