import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.integration_test
@pytest.mark.slow
def test_ends_with_its_figures_as_json():
  """On little data, where the figures mean nothing yet."""
  run = subprocess.run(
    [sys.executable, "benchmarks/convert.py", "--megabytes", "2"],
    cwd=ROOT,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    timeout=1800,
  )
  assert run.returncode == 0, run.stderr
  lines = [json.loads(line) for line in run.stdout.splitlines()[-2:]]
  assert [figures["name"] for figures in lines] == ["convert_keep", "convert_pcm16"]
  for figures in lines:
    assert figures["ours"] > 0 and figures["peer"] > 0
    assert figures["ratio"] == pytest.approx(figures["ours"] / figures["peer"], rel=0.05)
    assert "MB/s" in figures["unit"]
