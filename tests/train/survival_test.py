"""Ends of a training process, after each of which it resumes as if nothing had been."""

import random
import re
import shutil
import signal
import time

import pytest
from gcs_server import GcsServer

from maxtext_ext.checkpoint.training import find_checkpoint
from tests import tiny
from tests.train.loop_test import assert_same_weights, losses, weights
from tests.train.processes import launcher, saved_steps, wait_until

# All runs here have the same program. Packing and shuffling are always on.
KEYS = (
  *("lora_rank=2", "lora_dropout=0.1", "enable_dropout=true", "dropout_rate=0.2"),
  "frame_dropout=0.1",
  *("gradient_accumulation_steps=2", "spec_augment_mels=8", "spec_augment_frames=10"),
  *("per_device_batch_size=1", "max_target_length=128", "windows_per_row=1", "max_seconds=4"),
  *("base_num_decoder_layers=1", "encoder_layers_for_audio=1", "checkpoint_period=2"),
  "learning_rate_schedule_steps=1000",
)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
  """Starts a training process with `key=value` strings."""
  folder = tmp_path_factory.mktemp("run")
  keys = [*tiny.make_run(folder, train=24), *KEYS]
  with launcher(folder) as made:
    yield lambda *more, **limits: (made.start(*keys, *more, **limits), folder / "runs")


@pytest.fixture(scope="module")
def saved(start):
  """The folder of a run with a checkpoint after its two steps, to be copied."""
  process, runs = start("run_name=saved", "steps=2")
  assert process.wait() == 0, process.errors
  return runs / "saved"


@pytest.mark.cpu_only
@pytest.mark.integration_test
@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_as_if_it_were_not(start):
  process, runs = start("run_name=unkilled", "steps=20")
  assert process.wait() == 0, process.errors
  rng = random.Random(0)
  folder = runs / "killed" / "checkpoints"
  unfinished = 0
  for kill in range(1, 5):  # ten times: python -m benchmarks.kill_resume
    process, _ = start("run_name=killed", "steps=20")
    wait_until(lambda least=4 * kill: max(saved_steps(folder.parent), default=0) >= least, process)
    if kill % 2:
      wait_until(lambda: any(folder.glob("*-tmp")), process)
    else:
      time.sleep(rng.uniform(0, 0.2))
    process.send(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was killed before its end"
    unfinished += any(folder.glob("*-tmp"))
    there = saved_steps(folder.parent)[-1]
    steps = losses(str(folder.parent))
    assert list(steps) == list(range(1, len(steps) + 1)) and len(steps) >= there
  assert unfinished, "one was killed during a save"
  process, _ = start("run_name=killed", "steps=20")
  assert process.wait() == 0, process.errors
  assert losses(str(runs / "killed")) == losses(str(runs / "unkilled"))
  assert_same_weights(weights(str(runs / "killed"), 20), weights(str(runs / "unkilled"), 20))
  assert {path.name for path in folder.iterdir()} == {"16", "18", "20"}


@pytest.mark.integration_test
@pytest.mark.slow
def test_a_run_that_is_asked_to_stop_saves_and_ends_well(start):
  done = 0
  for number in (signal.SIGTERM, signal.SIGINT):
    process, runs = start("run_name=asked", "checkpoint_period=100000", "steps=100000")
    folder = runs / "asked"
    metrics = folder / "metrics.jsonl"
    wait_until(
      lambda least=done, file=metrics: file.exists() and len(losses(str(file.parent))) > least,
      process,
    )
    process.send(number)
    assert process.wait() == 128 + number, process.errors
    before, done = done, len(losses(str(folder)))
    assert done > before and saved_steps(folder)[-1] == done
    last = process.errors.splitlines()[-1]
    assert last.startswith(f"{number.name}: stopped after step {done} of 100000")
    assert "the same command resumes from there" in last
  process, _ = start("run_name=asked", "checkpoint_period=100000", f"steps={done + 2}")
  assert process.wait() == 0, process.errors
  assert len(losses(str(folder))) == done + 2


@pytest.mark.integration_test
@pytest.mark.slow
@pytest.mark.parametrize("background", ["true", "false"])
def test_a_disk_that_takes_no_more_stops_the_run_with_the_last_checkpoint_whole(
  start, saved, background
):
  folder = saved.with_name(f"full-{background}")
  shutil.copytree(saved, folder)
  keys = (f"run_name={folder.name}", f"async_checkpointing={background}")
  before = weights(str(folder), 2)
  # Weights are written in as many pieces as happen to be ready; this file always in one.
  largest = (folder / "checkpoints" / "2" / "items" / "_METADATA").stat().st_size
  process, _ = start(*keys, "steps=1000", largest_file=largest // 2)
  assert process.wait() == 2, process.errors
  last = process.errors.splitlines()[-1]
  assert last.startswith(f"error: the checkpoint of step 4 could not be saved in {folder}")
  assert "File too large; the checkpoint of step 2 is complete" in last
  assert "Traceback" not in process.errors, "of what else failed nothing is said"
  assert find_checkpoint(str(folder / "checkpoints"), "latest").endswith("/2/items")
  assert_same_weights(weights(str(folder), 2), before)
  assert len(losses(str(folder))) <= 6, "the next save is not begun"
  process, _ = start(*keys, "steps=4")
  assert process.wait() == 0, process.errors
  assert saved_steps(folder) == [2, 4]


@pytest.mark.integration_test
@pytest.mark.slow
def test_a_bit_that_flipped_in_a_checkpoint_ends_the_run_and_the_file_is_named(start, saved):
  folder = saved.with_name("flipped")
  shutil.copytree(saved, folder)
  checkpoint = folder / "checkpoints" / "2"
  assert (checkpoint / "checksums-0-of-1.json").exists()
  largest = max(checkpoint.rglob("ocdbt.process_0/d/*"), key=lambda file: file.stat().st_size)
  data = bytearray(largest.read_bytes())
  data[len(data) // 2] ^= 1
  largest.write_bytes(data)
  process, _ = start("run_name=flipped", "steps=4")
  assert process.wait() == 2, process.errors
  assert process.errors.splitlines()[-1].startswith(f"error: {largest} is damaged: its CRC32C is")
  assert saved_steps(folder) == [2] and list(losses(str(folder))) == [1, 2], "nothing is written"


@pytest.mark.integration_test
@pytest.mark.slow
def test_a_bucket_that_cannot_be_reached_ends_the_run_and_keeps_its_checkpoints(start):
  keys = ("base_output_directory=gs://bucket/runs", "run_name=away")
  run = "gs://bucket/runs/away"
  with GcsServer("bucket") as server:
    process, _ = start(*keys, "steps=100000", environment=server.environment)
    wait_until(lambda: "checkpoints/4/commit_success.txt" in server.files(run), process)
    server.vanish()
    assert process.wait() == 2, process.errors
  last = process.errors.splitlines()[-1]
  assert last.startswith("error: gs://bucket/runs: ") and "Cannot connect to host" in last
  assert "Traceback" not in process.errors
  whole = re.compile(r"checkpoints/(\d+)/commit_success.txt")
  with GcsServer("bucket") as again:
    again.buckets = server.buckets
    done = 4 + max(int(m[1]) for name in again.files(run) if (m := whole.fullmatch(name)))
    process, _ = start(*keys, f"steps={done}", environment=again.environment)
    assert process.wait() == 0, process.errors
    there = again.files(run)
    assert f"checkpoints/{done}/commit_success.txt" in there
    assert f"checkpoints/{done}/checksums-0-of-1.json" in there
    assert there["metrics.jsonl"].count(b"\n") == done
