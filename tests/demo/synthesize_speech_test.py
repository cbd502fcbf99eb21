"""The script data/synthesize_speech.py, as a user runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
  return subprocess.run(
    [sys.executable, str(ROOT / "data/synthesize_speech.py"), *arguments],
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    check=False,
  )


@pytest.mark.integration_test
def test_it_writes_shards_and_says_what_was_seen(tmp_path: Path) -> None:
  out = tmp_path / "clips"
  done = run(str(out), "--train=4", "--validation=1", "--test=2", "--shards=1")
  assert done.returncode == 0, done.stderr
  assert len(list(out.glob("*.tfrecord"))) == 3
  assert "train: 4 clips" in done.stdout
  assert "test texts that also occur in training:" in done.stdout


@pytest.mark.integration_test
def test_a_wrong_count_is_one_line_and_a_failure(tmp_path: Path) -> None:
  done = run(str(tmp_path / "clips"), "--train=0")
  assert done.returncode == 1
  assert done.stderr.strip() == (
    "error: no clips asked for in: train; every split needs at least one"
  )
