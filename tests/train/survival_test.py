"""What can end a training process, and that it goes on as if nothing had been."""

import random
import signal
import time

import pytest

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
SMALL = ("per_device_batch_size=1", "max_target_length=128", "windows_per_row=1", "max_seconds=4")


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
  keys = ("steps=100000", f"run_name={number.name}", "checkpoint_period=100000")
  process, runs = start(*keys)
  folder = runs / number.name
  wait_until(lambda: (folder / "metrics.jsonl").exists() and losses(str(folder)), process)
  process.send(number)
  assert process.wait() == 0, process.errors
  done = len(losses(str(folder)))
  assert saved_steps(folder) == [done]
  last = process.errors.splitlines()[-1]
  assert last.startswith(f"{number.name}: stopped after step {done} of 100000")
  assert "the same command goes on from there" in last
  process, _ = start(*keys, f"steps={done + 2}")
  assert process.wait() == 0, process.errors
  assert len(losses(str(folder))) == done + 2
