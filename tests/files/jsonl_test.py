"""Files that grow with a run, on a disk and in a bucket."""

import json
import math
import pathlib

import pytest

from maxtext_ext.files.jsonl import StepLines, read_metrics


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


def test_reads_one_metric_by_rising_step(tmp_path):
  path = tmp_path / "metrics.jsonl"
  entries = [
    {"step": 0, "loss": 5, "lr": 0.1},
    {"step": 10, "eval_loss": 4.5},
    {"step": 20, "loss": 3.0},
    {"step": 30, "loss": 2.9},
    {"step": 20, "loss": 3.1},  # resumed from step 10
    {"step": 40, "loss": math.nan},
  ]
  path.write_text("\n".join(map(json.dumps, entries)) + '\n\n{"step": 50, "lo')
  steps, losses = zip(*read_metrics(path), strict=True)
  assert steps == (0, 20, 30, 40)
  assert losses[:3] == (5.0, 3.1, 2.9)
  assert math.isnan(losses[3])
  assert read_metrics(path, "eval_loss") == [(10, 4.5)]
  assert read_metrics(path, "accuracy") == []


@pytest.mark.parametrize(
  ("line", "message"),
  [
    ("{", "metrics.jsonl:2: not a line of JSON"),
    ("[1]", 'metrics.jsonl:2: expected an object with a whole number "step"'),
    ('{"loss": 1.0}', 'metrics.jsonl:2: expected an object with a whole number "step"'),
    ('{"step": 1.5, "loss": 1.0}', 'expected an object with a whole number "step"'),
    ('{"step": 1, "loss": "low"}', "metrics.jsonl:2: loss is 'low', expected a number"),
  ],
)
def test_malformed_line_is_named(tmp_path, line, message):
  path = tmp_path / "metrics.jsonl"
  path.write_text('{"step": 0, "loss": 1.0}\n' + line + "\n")
  with pytest.raises(ValueError, match=message):
    read_metrics(path)


def test_missing_file(tmp_path):
  with pytest.raises(ValueError, match="no such file"):
    read_metrics(tmp_path / "metrics.jsonl")
