"""Logs of workers, and the terminal beside them."""

from pathlib import Path

import pytest
from orchestration.worker_log import WorkerLog


def test_a_full_disk_ends_the_log_and_not_the_run(capsys: pytest.CaptureFixture[str]):
  log = WorkerLog(Path("/dev/full"), "worker 0", 0)
  log.begin("title")
  log.write(b"first\nsecond\n")
  log.close()
  output, errors = capsys.readouterr()
  assert output == "[worker 0] first\n[worker 0] second\n"
  assert list(log.tail) == ["first", "second"]
  assert errors.count("/dev/full cannot be written, the run goes on without it") == 1


def test_the_tail_of_a_very_long_line_is_short(tmp_path: Path):
  log = WorkerLog(tmp_path / "log", "worker 0", 0)
  log.write(b"x" * 10_000_000 + b"end")
  log.close()
  assert (tmp_path / "log").stat().st_size == 10_000_003
  assert all(len(line) < 3000 for line in log.tail)
  assert log.tail[-1].endswith("end")


def test_output_after_the_end_is_dropped(tmp_path: Path):
  log = WorkerLog(tmp_path / "log", "worker 0", 0)
  log.write(b"in time\n")
  log.close()
  log.write(b"late\n")
  assert (tmp_path / "log").read_bytes() == b"in time\n"
