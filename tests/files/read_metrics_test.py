import json
import math

import pytest

from maxtext_ext.evaluate.metrics import read_metrics


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
