import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def figures():
  """By name; in a process of its own, where types are not checked."""
  run = subprocess.run(
    [sys.executable, "benchmarks/packing.py"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
    timeout=1800,
  )
  lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
  assert lines[-1]["name"] == "packing"
  return {line["name"]: line for line in lines}


@pytest.mark.integration_test
def test_rows_of_log_normal_durations_are_full(figures):
  got = figures["packing"]
  assert got["ours"] == got["token_fill"] >= 0.98
  assert got["chunk_fill"] >= 0.97
  assert got["ratio"] > 2
  assert got["clips_per_second"] > 0


@pytest.mark.integration_test
@pytest.mark.parametrize("durations", ["read_books", "read_sentences", "with_cut_speech"])
def test_rows_of_other_durations_are_as_full_as_windows_can_be(figures, durations):
  got = figures[f"packing_{durations}"]
  assert got["token_fill"] >= 0.97
  assert got["chunk_fill"] >= got["most_chunk_fill"] - 0.006
