import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.integration_test
def test_prints_a_json_line_for_decoding_and_one_for_evaluation():
  run = subprocess.run(
    [sys.executable, "benchmarks/lengths.py", "--records", "40"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
    timeout=600,
  )
  decoding, evaluation = map(json.loads, run.stdout.splitlines())
  assert (decoding["name"], decoding["unit"]) == ("first_clip_of_decoding", "s")
  assert 0 < decoding["ours"] < decoding["peer"]
  assert (evaluation["name"], evaluation["peer"]) == ("records_read_by_a_host", 40)
  reads = evaluation["of_each_host"]
  assert evaluation["ours"] == max(reads) and len(reads) == 4
