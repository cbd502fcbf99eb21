"""Conversions of parquet whose reading processes fail, and that are stopped."""

import json
import os
import pathlib
import signal
import subprocess
import sys
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maxtext_ext.conversion.convert import ConvertOptions, finish, plan_conversion, run_shard
from maxtext_ext.conversion.local_engine import run_jobs
from maxtext_ext.conversion.shard_job import ShardJob, ShardResult
from maxtext_ext.sources import parquet_reader
from maxtext_ext.sources.options import SourceOptions
from tests.sources import faulty_child, processes
from tests.sources.fuzz import tones

pytestmark = pytest.mark.integration_test


def write(folder: pathlib.Path, rows: int) -> str:
  """A file with row groups of five good rows."""
  columns = {
    "id": [str(row) for row in range(rows)],
    "audio": [{"bytes": tones.flac(), "path": None}] * rows,
    "text": ["text"] * rows,
  }
  pq.write_table(pa.table(columns), folder / "x.parquet", row_group_size=5)
  return str(folder / "x.parquet")


def run_faulty(job: ShardJob, watch: Any) -> ShardResult:
  """Converts a shard in a process whose children abort in row 2 of row group 1."""
  parquet_reader._SCRIPT = faulty_child.__file__
  os.environ |= {"FAULT": "abort", "FAULT_GROUP": "1", "FAULT_ROW": "2"}
  return run_shard(job, watch)


def test_shards_in_parallel_where_a_child_dies(tmp_path):
  out = tmp_path / "out"
  options = ConvertOptions(
    source_format="parquet", max_bad_fraction=1.0, source=SourceOptions(shards=4)
  )
  plan = plan_conversion(write(tmp_path, 20), str(out), options, None)
  results = run_jobs(run_faulty, plan.jobs, workers=2, watch=lambda status: True)
  summary = finish(plan, results)
  assert (summary.read, summary.written, summary.quarantined) == (20, 17, 3)
  bad = [json.loads(line) for line in (out / "quarantine.jsonl").read_text().splitlines()]
  assert [line["position"] for line in bad] == [7, 8, 9]
  reason = "row group 1 cannot be read from row 2 on (the reader ended by signal 6)"
  assert {line["reason"] for line in bad} == {reason}


def test_ctrl_c_leaves_no_child_behind(tmp_path):
  source, marker = write(tmp_path, 5), tmp_path / "asleep"
  code = (
    "import sys\n"
    "from maxtext_ext.cli import main\n"
    "from maxtext_ext.sources import parquet_reader\n"
    "from tests.sources import faulty_child\n"
    "parquet_reader._SCRIPT = faulty_child.__file__\n"
    "main(['data', 'convert', *sys.argv[1:], '--from', 'parquet'])\n"
  )
  fault = {"FAULT": "sleep", "FAULT_GROUP": "0", "FAULT_ROW": "2", "FAULT_ONCE": str(marker)}
  command = subprocess.Popen(
    [sys.executable, "-c", code, source, tmp_path / "out"],
    env=os.environ | fault,
    start_new_session=True,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  processes.wait_until(marker.exists)
  (child,) = processes.children(command.pid)
  os.killpg(command.pid, signal.SIGINT)
  assert command.wait(60) != 0
  processes.wait_until_gone(child)
