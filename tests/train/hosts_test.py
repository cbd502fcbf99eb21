"""A run on several hosts: the losses of one, its end when one is lost, another number of hosts."""

import math
import pathlib
import signal
import socket

import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

from maxtext_ext.checkpoint.training import TrainingCheckpoints
from maxtext_ext.errors import PEER_LOST
from maxtext_ext.input.position import Position, for_host
from tests import tiny
from tests.train.loop_test import losses
from tests.train.processes import free_address, launcher, saved_steps, wait_until

# Of all runs here, so that they share their programs. Their batches are four rows, on four devices
# of one process or two devices of each of two.
KEYS = (
  *("base_num_decoder_layers=1", "encoder_layers_for_audio=1", "per_device_batch_size=1"),
  *("windows_per_row=1", "learning_rate_schedule_steps=1000"),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  """Starts training processes."""
  with launcher(tmp_path_factory.mktemp("hosts")) as made:
    yield made


@pytest.fixture(scope="module")
def started(made, tmp_path_factory):
  """Starts the processes of a run: their number, `key=value` strings, and devices of each."""
  keys = [*tiny.make_run(tmp_path_factory.mktemp("data")), *KEYS]
  return lambda processes, *more, **options: made.start_all(processes, *keys, *more, **options)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  """The folder of the runs."""
  return tmp_path_factory.mktemp("runs")


def finish(processes, status: int = 0) -> list[str]:
  """Returns what each of the processes, which must end with this status, wrote for people."""
  ended = [process.wait() for process in processes]
  assert ended == [status] * len(processes), processes[0].errors
  return [process.errors for process in processes]


@pytest.mark.cpu_only
@pytest.mark.integration_test
@pytest.mark.slow
def test_several_processes_and_devices_have_the_losses_of_one(started, runs, tmp_path):
  # Each clip is longer than half a row, so a row holds one. Then the batches of one process and of
  # several have the same clips: of the next four in the order, host h of H has h, h + H, ...
  keys = (*tiny.make_run(tmp_path, train=20, seconds=(4.2, 8.0)), "steps=5")
  keys = (*keys, f"base_output_directory={runs}", "enable_checkpointing=false")
  data = ("ici_data_parallelism=4", "ici_fsdp_parallelism=1")
  found = {}
  for name, processes, devices, more in (
    ("one", 1, 1, ["per_device_batch_size=4"]),
    ("fsdp", 1, 4, []),
    ("data", 1, 4, data),
    ("processes", 2, 2, []),
  ):
    finish(started(processes, *keys, *KEYS, *more, f"run_name={name}", devices=devices))
    found[name] = list(losses(str(runs / name)).values())
  assert len({*np.round(found["one"], 4)}) == 5, "batches differ"
  # The same numbers are added up in another order, which is worth some units in the last place of
  # float32, 6e-8, in a loss; Adam's first steps have the size of the learning rate whatever the
  # gradient's, so where a gradient is all but 0, rounding decides on the direction.
  for name in ("fsdp", "data", "processes"):
    np.testing.assert_allclose(found[name], found["one"], rtol=1e-5, err_msg=name)


@pytest.mark.cpu_only
@pytest.mark.integration_test
@pytest.mark.slow
def test_the_command_names_those_that_do_not_come(made):
  limit = "jax_distributed_initialization_timeout"
  cluster = {"JAX_COORDINATOR_ADDRESS": free_address(), "JAX_NUM_PROCESSES": "2"}
  alone = made.start(f"{limit}=1", environment={**cluster, "JAX_PROCESS_ID": "0"})
  assert alone.wait() == 2
  assert alone.errors.splitlines()[-1] == (
    f"error: 1 of 2 processes did not come within 1 s ({limit}); missing: 1;"
    f" here: process 0 ({socket.gethostname()})"
  )


@pytest.mark.cpu_only
@pytest.mark.integration_test
@pytest.mark.slow
def test_processes_that_were_started_with_other_keys_are_refused(made):
  cluster = {"JAX_COORDINATOR_ADDRESS": free_address(), "JAX_NUM_PROCESSES": "2"}
  both = [
    made.start(f"learning_rate={rate}", environment={**cluster, "JAX_PROCESS_ID": index})
    for index, rate in (("0", "2e-3"), ("1", "0.5"))
  ]
  for process in both:
    assert process.wait() == 2
    assert process.errors.splitlines()[-1] == (
      f"error: process 1 ({socket.gethostname()}) was started otherwise than process 0:"
      " learning_rate is 0.5, on process 0 0.002; give the same command and environment on every"
      " host"
    )


@pytest.mark.cpu_only
@pytest.mark.integration_test
@pytest.mark.slow
def test_when_one_process_is_asked_to_stop_or_is_lost_all_stop(started, runs):
  keys = (f"base_output_directory={runs}", "run_name=lost", "steps=100000")
  folder = runs / "lost"
  metrics = folder / "metrics.jsonl"

  def lines() -> int:
    return metrics.read_text().count("\n") if metrics.exists() else 0

  asked = started(2, *keys, devices=2)
  wait_until(lambda: lines() >= 1, *asked)
  asked[1].send(signal.SIGTERM)
  said, _ = finish(asked, status=128 + signal.SIGTERM)
  done = lines()
  assert f"a signal to another host: stopped after step {done} of 100000; the same" in said
  assert saved_steps(folder) == [done]
  assert [position.step for position in unused(folder / "checkpoints", done)[2]] == [done, done]

  for lost in (0, 1):
    metrics.unlink()
    both = started(2, *keys, devices=2)
    wait_until(lambda: lines() >= 1, *both)
    both[lost].send(signal.SIGKILL)
    assert both[lost].wait() == -signal.SIGKILL
    other = both[1 - lost]
    assert other.wait() == PEER_LOST, other.errors
    last = other.errors.splitlines()[-1]
    assert last.startswith(f"error: process {lost} ({socket.gethostname()}) is gone")
    assert "Traceback" not in other.errors and "***" not in other.errors, other.errors
    assert saved_steps(folder) == [done], "it is where the next goes on"


@pytest.mark.cpu_only
@pytest.mark.integration_test
@pytest.mark.slow
def test_one_process_goes_on_for_two(started, runs):
  keys = (f"base_output_directory={runs}", "run_name=moved", "checkpoint_period=3")
  keys = (*keys, "packing_lookahead=16", "max_num_checkpoints_to_keep=3")
  finish(started(2, *keys, "steps=3", devices=2))
  finish(started(1, *keys, "steps=6", devices=4))
  folder = runs / "moved"
  found = losses(str(folder))
  assert list(found) == [1, 2, 3, 4, 5, 6]
  assert all(math.isfinite(loss) for loss in found.values())
  left, end, then = unused(folder / "checkpoints", 3)
  left_now, end_now, now = unused(folder / "checkpoints", 6)
  assert [(p.host, p.hosts, p.step) for p in then] == [(0, 2, 3), (1, 2, 3)]
  assert [(p.host, p.hosts, p.step) for p in now] == [(0, 1, 6)]
  assert end_now >= end
  assert {element for element in left_now if element < end} <= left, "used once, never again"
  assert len(left_now) - (end_now - end) < len(left), "and what was left is used"


def unused(folder: pathlib.Path, step: int) -> tuple[set[int], int, list[Position]]:
  """Elements that were not used below the first that nobody has read, that one, and positions."""
  checkpoints = TrainingCheckpoints(ocp.training.Checkpointer(folder), background=False)
  positions = [Position.from_json(state) for state in checkpoints.positions(step)]
  checkpoints.close()
  alone = for_host(positions, 0, 1)
  return {*alone.first, *alone.waiting}, alone.next, positions
