import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_ends_with_its_figures_as_json():
  """In a process of its own: the type checks of the tests would be timed too."""
  run = subprocess.run(
    [sys.executable, "benchmarks/packing.py"],
    cwd=ROOT,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    check=True,
    timeout=60,
  )
  figures = json.loads(run.stdout.splitlines()[-1])
  assert figures["name"] == "packing"
  assert figures["ours"] == figures["token_fill"] >= 0.97
  assert figures["chunk_fill"] >= 0.95
  assert figures["ratio"] > 2
  assert figures["clips_per_second"] >= 5_000
