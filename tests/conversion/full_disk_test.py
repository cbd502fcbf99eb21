"""Full disks: a conversion says so in one line, and goes on later."""

import json
import os
import pathlib
import resource
import subprocess
import sys

import numpy as np
import pytest

from maxtext_ext.conversion.convert import convert, finish, plan_conversion, run_shard
from maxtext_ext.files.writing import WriteError
from maxtext_ext.records.lengths import lengths_path
from maxtext_ext.records.quarantine import Quarantine
from tests.conversion.small_shards import bytes_of, encoded, options, write_shards

ROOT = pathlib.Path(__file__).parents[2]


def noise(sample_id: str) -> bytes:
  return encoded(sample_id, np.random.default_rng(0).normal(0, 0.1, 40_000).astype(np.float32))


def fill(path: str) -> str:
  """Makes the next file of this name one on a device without room. Returns what is in its way."""
  temporary = f"{path}.tmp-{os.getpid()}"
  os.makedirs(os.path.dirname(path), exist_ok=True)
  os.symlink("/dev/full", temporary)
  return temporary


@pytest.mark.parametrize("file", ["shard", "lengths", "result_path", "ids_path", "quarantine_path"])
def test_a_job_without_room(tmp_path, file):
  source = write_shards(tmp_path / "in", [noise("a"), b"junk"], ["b"])
  out = tmp_path / "out"
  job = plan_conversion(source, str(out), options()).jobs[0]
  shard = job.outputs[0]
  outputs = {"shard": shard, "lengths": lengths_path(shard)}
  path = outputs.get(file) or getattr(job, file)
  fill(path)
  with pytest.raises(WriteError) as caught:
    run_shard(job)
  text = str(caught.value)
  assert text.startswith(f"{path}: cannot write it (") and "No space left on device" in text
  assert text.endswith("make room there, then run the same command again") and "\n" not in text
  assert convert(source, str(out), options()).written == 2
  convert(source, str(tmp_path / "anew"), options())
  assert bytes_of(out) == bytes_of(tmp_path / "anew")


@pytest.mark.parametrize("name", ["quarantine.jsonl", "train.manifest.json"])
def test_the_last_files_without_room(tmp_path, name):
  source = write_shards(tmp_path / "in", ["a", "b"], ["b", b"junk"])
  out = tmp_path / "out"
  plan = plan_conversion(source, str(out), options())
  results = [run_shard(job) for job in plan.jobs]
  fill(str(out / name))
  with pytest.raises(WriteError, match=rf"{name}: cannot write it \(No space left on device\)"):
    finish(plan, results)
  assert not (out / "train.manifest.json").exists()
  convert(source, str(out), options())
  convert(source, str(tmp_path / "anew"), options())
  assert bytes_of(out) == bytes_of(tmp_path / "anew")


def test_a_long_quarantine_without_room(tmp_path):
  """Its lines are written when so many have gathered, not when it is closed."""
  path = str(tmp_path / "quarantine.jsonl")
  fill(path)
  with pytest.raises(WriteError, match="make room"), Quarantine(path, ["train"]) as quarantine:
    for position in range(1_000):
      quarantine.add("id", "file", position, "reason")
  assert not os.path.exists(path)


@pytest.mark.integration_test
def test_on_the_command_line(tmp_path):
  """Files may grow to so many bytes, which the library for shards is told as any other failure."""
  source = write_shards(tmp_path / "in", ["a"], [noise(str(index)) for index in range(12)])
  out = tmp_path / "out"
  command = [sys.executable, "-m", "maxtext_ext.cli", "data", "convert", source, str(out)]
  command += ["--from", "tfrecord", "--workers", "2"]

  def run(most_bytes: int) -> subprocess.CompletedProcess:
    limits = most_bytes, resource.RLIM_INFINITY
    return subprocess.run(
      command,
      cwd=ROOT,
      capture_output=True,
      text=True,
      preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
    )

  result = run(1 << 20)
  assert result.returncode == 2, result.stderr
  shard = out / "train-00001-of-00002.array_record"
  assert result.stderr.startswith(f"error: {shard}: cannot write it (write() failed: File too")
  assert result.stderr.count("\n") == 1
  assert run(-1).returncode == 0
  assert json.loads((out / "train.manifest.json").read_text())["records"] == 13
