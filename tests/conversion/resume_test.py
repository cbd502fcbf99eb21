"""Conversions that are killed at any moment go on, and end with the bytes of one that is not."""

import os
import pathlib
import random
import subprocess
import sys
import time

import numpy as np
import pytest

from maxtext_ext.conversion.convert import convert, plan_conversion, run_shard
from tests.conversion.small_shards import bytes_of, encoded, options, write_shards

ROOT = pathlib.Path(__file__).parents[2]
KILLS = 8


def write_source(folder: pathlib.Path) -> str:
  """Twelve shards of a megabyte, with ids that occur in two of them, and bad records."""
  rng = np.random.default_rng(0)
  shards = []
  for shard in range(12):
    names = [f"{shard}-{i}" if i % 9 else f"twice-{i}" for i in range(40)]
    audio = [rng.integers(-9_000, 9_000, 8_000).astype(np.int16) for _ in names]
    shards.append([encoded(*pair) for pair in zip(names, audio, strict=True)])
    shards[-1].insert(shard, b"junk")
  return write_shards(folder, *shards)


@pytest.mark.integration_test
@pytest.mark.slow
def test_killed_at_random_moments(tmp_path):
  source = write_source(tmp_path / "in")
  expected = tmp_path / "expected"
  convert(source, str(expected), options(audio="pcm16"))
  out = tmp_path / "out"
  log = tmp_path / "log"
  # Nice, so that on a busy machine it does not run ahead of the test that watches it.
  command = ["nice", "-n", "19", sys.executable, "-m", "maxtext_ext.cli", "data", "convert"]
  command += [source, str(out)]
  command += ["--from", "tfrecord", "--audio", "pcm16", "--workers", "2"]
  command += ["--max-bad-fraction", "0.5"]

  def start() -> subprocess.Popen:
    return subprocess.Popen(command, cwd=ROOT, stdout=log.open("wb"), stderr=subprocess.STDOUT)

  rng = random.Random(1)
  states = set()
  for kill in range(KILLS):
    process = start()
    # So many shards further than it was, and then anywhere in what it does.
    wanted = min(len(shards_in(out)) + rng.randrange(3), 11)
    deadline = time.monotonic() + 600
    while process.poll() is None and len(shards_in(out)) <= wanted:
      assert time.monotonic() < deadline
      time.sleep(0.001)
    time.sleep(rng.random() * 0.03)
    assert process.poll() is None or kill > 2, log.read_text()
    process.kill()
    process.wait()
    states.add(len(shards_in(out)))
  assert len(states) > 2, "the kills met it at several stages"
  final = start()
  assert final.wait(timeout=600) == 0, log.read_text()
  assert bytes_of(out) == bytes_of(expected)


def shards_in(folder: pathlib.Path) -> list[str]:
  if not folder.is_dir():
    return []
  return [name for name in os.listdir(folder) if name.endswith(".array_record")]


def test_what_is_done_is_not_done_again(tmp_path):
  source = write_shards(tmp_path / "in", ["a", "b"], ["b", "c"], ["d"])
  out = tmp_path / "out"
  for job in plan_conversion(source, str(out), options()).jobs[:2]:
    run_shard(job)
  shard = out / "train-00000-of-00003.array_record"
  written = shard.stat().st_mtime_ns
  told = []
  summary = convert(source, str(out), options(), progress=told.append)
  assert shard.stat().st_mtime_ns == written
  assert [now.read for now in told] == [5]
  assert told[0].done_before == pytest.approx(2 / 3)
  assert (summary.read, summary.written) == (5, 4)
  convert(source, str(tmp_path / "at once"), options())
  assert bytes_of(out) == bytes_of(tmp_path / "at once")


def test_a_result_without_its_shard_is_nothing(tmp_path):
  source = write_shards(tmp_path / "in", ["a"], ["b"])
  out = tmp_path / "out"
  run_shard(plan_conversion(source, str(out), options()).jobs[0])
  (out / "train-00000-of-00002.array_record").unlink()
  assert convert(source, str(out), options()).written == 2
