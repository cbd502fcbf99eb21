"""One shard: what is stored of it, and the memory that it takes."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from maxtext_ext.conversion.convert import plan_conversion, run_shard
from maxtext_ext.conversion.shard_job import ShardResult, read_ids, stored_result
from maxtext_ext.sources.tfrecord import MAX_RECORD_BYTES, write_tfrecord
from tests.conversion.small_shards import encoded, options, write_shards

MB = 2**20


def test_a_stored_result_is_the_result(tmp_path):
  source = write_shards(tmp_path / "in", ["a", "שלום/1", b"junk", "a"])
  (job,) = plan_conversion(source, str(tmp_path / "out"), options()).jobs
  result = run_shard(job)
  for again in (stored_result(job), run_shard(job), ShardResult.from_json(result.to_json())):
    assert again.to_json() == result.to_json()
    np.testing.assert_array_equal(again.ids, result.ids)
  assert (result.read, result.quarantined) == (4, 2)
  assert result.ids["position"].tolist() == [0, 1]
  assert read_ids(job) == (["a", "שלום/1"], ["", ""])


def test_a_job_that_breaks_leaves_no_result(tmp_path):
  source = write_shards(tmp_path / "in", ["a", "b"])
  (job,) = plan_conversion(source, str(tmp_path / "out"), options()).jobs

  def stop(status) -> None:
    raise ZeroDivisionError

  with pytest.raises(ZeroDivisionError):
    run_shard(job, stop)
  assert stored_result(job) is None
  left = {path.name: os.listdir(path) for path in (tmp_path / "out").iterdir()}
  assert left == {".progress-train": ["plan.json"], ".shards-train": []}
  assert run_shard(job).shards[0].records == 2


PEAK = r"""
import re, sys
from maxtext_ext.conversion.convert import ConvertOptions, plan_conversion, run_shard

source, out, audio = sys.argv[1:]
options = ConvertOptions(source_format="tfrecord", audio=audio, max_bad_fraction=1.0)
(job,) = plan_conversion(source, out, options).jobs
result = run_shard(job)
# Not getrusage: its peak is also that of the process that started this one.
peak = int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1]) * 1024
print(peak, result.read, result.quarantined)
"""


def measure(source: str, out: pathlib.Path, audio: str) -> tuple[int, int, int]:
  """Peak memory of a process that converts one shard, records read and quarantined."""
  run = subprocess.run(
    [sys.executable, "-c", PEAK, source, str(out), audio],
    cwd=pathlib.Path(__file__).parents[2],
    capture_output=True,
    text=True,
  )
  assert run.returncode == 0, run.stderr
  peak, read, bad = map(int, run.stdout.split())
  return peak, read, bad


@pytest.mark.integration_test
@pytest.mark.slow
def test_memory_does_not_grow_with_the_shard(tmp_path):
  samples = np.tile(np.random.default_rng(0).integers(-99, 99, 800).astype(np.int16), 320)  # 16 s

  def write(name: str, count: int) -> str:
    path = str(tmp_path / name)
    write_tfrecord(path, (encoded(f"{name}-{i}", samples) for i in range(count)))
    return path

  sizes = {count: write(f"{count}.tfrecord", count) for count in (20, 700)}
  assert pathlib.Path(sizes[700]).stat().st_size > 700e6
  (small, *_), (large, read, bad) = (
    measure(path, tmp_path / f"out-{count}", "keep") for count, path in sizes.items()
  )
  assert (read, bad) == (700, 0)
  print(f"{small / MB:.0f} MiB for 20 records, {large / MB:.0f} MiB for 700")
  assert large < 300 * MB
  assert large - small < 30 * MB


@pytest.mark.integration_test
def test_memory_of_the_longest_records(tmp_path):
  """Twenty minutes in one record, and one that is longer than a record may be."""
  samples = np.tile(np.random.default_rng(0).integers(-99, 99, 16_000).astype(np.int16), 60 * 20)
  path = str(tmp_path / "long.tfrecord")
  write_tfrecord(path, [encoded("long", samples), bytes(MAX_RECORD_BYTES + 1), encoded("short")])
  peak, read, bad = measure(path, tmp_path / "out", "flac")
  print(f"{peak / MB:.0f} MiB")
  assert (read, bad) == (3, 1)
  assert peak < 600 * MB
