"""Files that grow with a run, on a disk and in a bucket."""

import json
import pathlib

import pytest

from maxtext_ext.files.jsonl import StepLines


def read(path: pathlib.Path) -> list[dict]:
  return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def write(folder: pathlib.Path, *steps: int, until: int) -> list[int]:
  """Adds lines of those steps to what is there until one; the steps that are there then."""
  lines = StepLines(str(folder), "a.jsonl", until=until)
  for step in steps:
    lines.write({"step": step, "text": "שלום\u2028|"})
  lines.close()
  found = read(folder / "a.jsonl")
  assert all(line["text"] == "שלום\u2028|" for line in found)
  return [line["step"] for line in found]


def test_a_resumed_run_drops_what_came_after_its_start(tmp_path):
  assert write(tmp_path, 1, 2, 2, 3, until=0) == [1, 2, 2, 3]
  with (tmp_path / "a.jsonl").open("a") as file:
    file.write('{"step": 2, "te')  # it was killed here
  assert write(tmp_path, 3, until=2) == [1, 2, 2, 3]
  assert write(tmp_path, 1, until=0) == [1], "a new run begins anew"


def test_each_line_is_there_at_once_and_no_file_without_one(tmp_path):
  lines = StepLines(str(tmp_path), "a.jsonl", until=0)
  lines.flush()
  assert not (tmp_path / "a.jsonl").exists()
  lines.write({"step": 1})
  assert read(tmp_path / "a.jsonl") == [{"step": 1}]
  lines.close()


def test_what_cannot_be_written_is_one_line(tmp_path):
  lines = StepLines(str(tmp_path), "a.jsonl", until=0)
  lines.close()
  lines._file = open("/dev/full", "w", 1)  # noqa: SIM115 - a disk without room
  with pytest.raises(OSError, match=r"a\.jsonl cannot be written: No space left"):
    lines.write({"step": 1})
