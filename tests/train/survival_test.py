"""What can end a training process, and that it goes on as if nothing had been."""

import random
import signal
import time

import pytest

from maxtext_ext.checkpoint.training import find_checkpoint
from tests import tiny
from tests.train.loop_test import assert_same_weights, losses, weights
from tests.train.processes import launcher, saved_steps, wait_until

# Packing and shuffling are always on.
EVERYTHING = (
  "lora_rank=2",
  "lora_dropout=0.1",
  "enable_dropout=true",
  "dropout_rate=0.2",
  "gradient_accumulation_steps=2",
  "spec_augment_mels=8",
  "spec_augment_frames=10",
)
SMALL = (
  *("per_device_batch_size=1", "max_target_length=128", "windows_per_row=1", "max_seconds=4"),
  *("base_num_decoder_layers=1", "encoder_layers_for_audio=1"),
)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
  """Starts a training process with `key=value` strings."""
  folder = tmp_path_factory.mktemp("run")
  keys = [*tiny.make_run(folder, train=24), *SMALL]
  with launcher(folder) as made:
    yield lambda *more, **limits: (made.start(*keys, *more, **limits), folder / "runs")


@pytest.mark.cpu_only
@pytest.mark.integration_test
@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_as_if_it_were_not(start):
  keys = (*EVERYTHING, "steps=48", "checkpoint_period=2")
  process, runs = start(*keys, "run_name=unkilled")
  assert process.wait() == 0, process.errors
  rng = random.Random(0)
  folder = runs / "killed" / "checkpoints"
  unfinished = 0
  for kill in range(1, 11):
    process, _ = start(*keys, "run_name=killed")
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
  process, _ = start(*keys, "run_name=killed")
  assert process.wait() == 0, process.errors
  assert losses(str(runs / "killed")) == losses(str(runs / "unkilled"))
  assert_same_weights(weights(str(runs / "killed"), 48), weights(str(runs / "unkilled"), 48))
  assert {path.name for path in folder.iterdir()} == {"44", "46", "48"}


@pytest.mark.integration_test
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_stop_saves_and_ends_well(start, number):
  keys = (f"run_name={number.name}", "checkpoint_period=100000")
  process, runs = start(*keys, "steps=100000")
  folder = runs / number.name
  wait_until(lambda: (folder / "metrics.jsonl").exists() and losses(str(folder)), process)
  process.send(number)
  assert process.wait() == 128 + number, process.errors
  done = len(losses(str(folder)))
  assert saved_steps(folder) == [done]
  last = process.errors.splitlines()[-1]
  assert last.startswith(f"{number.name}: stopped after step {done} of 100000")
  assert "the same command goes on from there" in last
  process, _ = start(*keys, f"steps={done + 2}")
  assert process.wait() == 0, process.errors
  assert len(losses(str(folder))) == done + 2


@pytest.mark.integration_test
@pytest.mark.slow
@pytest.mark.parametrize("background", ["true", "false"])
def test_a_disk_that_takes_no_more_stops_the_run_with_the_last_checkpoint_whole(start, background):
  name = f"full-{background}"
  keys = (f"run_name={name}", "checkpoint_period=2", f"async_checkpointing={background}")
  keys = (*keys, "learning_rate_schedule_steps=1000")
  process, runs = start(*keys, "steps=2")
  assert process.wait() == 0, process.errors
  folder = runs / name
  before = weights(str(folder), 2)
  # Weights are written in as many pieces as happen to be ready; this file always in one.
  largest = (folder / "checkpoints" / "2" / "items" / "_METADATA").stat().st_size
  process, _ = start(*keys, "steps=1000", largest_file=largest // 2)
  assert process.wait() == 2, process.errors
  last = process.errors.splitlines()[-1]
  assert last.startswith(f"error: the checkpoint of step 4 could not be saved in {folder}")
  assert "File too large; that of step 2 is whole" in last
  assert "Traceback" not in process.errors, "of what else failed nothing is said"
  assert find_checkpoint(str(folder / "checkpoints"), "latest").endswith("/2/items")
  assert_same_weights(weights(str(folder), 2), before)
  assert len(losses(str(folder))) <= 6, "the next save is not begun"
  process, _ = start(*keys, "steps=4")
  assert process.wait() == 0, process.errors
  assert saved_steps(folder) == [2, 4]
