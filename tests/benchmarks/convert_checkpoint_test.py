import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_ends_with_its_figures_as_json():
  """As the full benchmark, on checkpoints so small that the peer's figures mean nothing."""
  sizes = ("--sizes", "0.5", "0.9", "--peer-sizes", "0.1", "0.2")
  run = subprocess.run(
    [sys.executable, "benchmarks/convert_checkpoint.py", "--quick", *sizes],
    cwd=ROOT,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    check=True,
    timeout=1800,
  )
  figures = json.loads(run.stdout.splitlines()[-1])
  assert figures["name"] == "convert_checkpoint"
  assert {"peer", "ratio", "unit"} <= figures.keys()
  # A conversion that held it all would be above 1, however busy the machine is.
  assert figures["ours"] < 1
