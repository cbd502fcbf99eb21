"""A run that several processes began goes on with another number of them."""

import json
import math
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest
import tiny
from orbax.checkpoint import v1 as ocp

from maxtext_ext.checkpoint.training import TrainingCheckpoints
from maxtext_ext.input.position import Position, for_host

ROOT = pathlib.Path(__file__).parents[2]

# What the launcher of a pod sets up before a process begins.
PROCESS = """
import sys
import jax
port, processes, index = map(int, sys.argv[1:4])
if processes > 1:
  jax.config.update("jax_cpu_collectives_implementation", "gloo")
  jax.distributed.initialize(f"127.0.0.1:{port}", processes, index)
from maxtext_ext.train.loop import main
main(sys.argv[4], sys.argv[5:])
"""


def start(processes: int, keys: list[str]) -> list[subprocess.Popen]:
  """Begins to train with so many processes on this machine."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  return [
    subprocess.Popen(
      [sys.executable, "-c", PROCESS, *map(str, (port, processes, index)), tiny.DEMO, *keys],
      cwd=ROOT,
      stderr=subprocess.PIPE,
    )
    for index in range(processes)
  ]


def finish(started: list[subprocess.Popen]) -> list[str]:
  """Waits for the processes, which must end well; what each wrote for people."""
  try:
    said = []
    for process in started:
      _, errors = process.communicate(timeout=600)
      assert process.returncode == 0, errors.decode()
      said.append(errors.decode())
    return said
  finally:
    for process in started:
      process.kill()


def unused(folder: pathlib.Path, step: int) -> tuple[set[int], int, list[Position]]:
  """Elements that were not used below the first that nobody has read, that one, and positions."""
  checkpoints = TrainingCheckpoints(ocp.training.Checkpointer(folder), background=False)
  positions = [Position.from_json(state) for state in checkpoints.positions(step)]
  checkpoints.close()
  alone = for_host(positions, 0, 1)
  return {*alone.first, *alone.waiting}, alone.next, positions


@pytest.mark.cpu_only
@pytest.mark.integration_test
@pytest.mark.slow
def test_one_process_goes_on_for_two(tmp_path):
  keys = [*tiny.make_run(tmp_path), "checkpoint_period=3", "packing_lookahead=16", "run_name=moved"]
  finish(start(2, [*keys, "per_device_batch_size=2", "steps=3"]))
  finish(start(1, [*keys, "per_device_batch_size=4", "steps=6"]))
  folder = tmp_path / "runs" / "moved"
  lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
  assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
  assert all(math.isfinite(line["loss"]) for line in lines)
  left, end, then = unused(folder / "checkpoints", 3)
  left_now, end_now, now = unused(folder / "checkpoints", 6)
  assert [(p.host, p.hosts, p.step) for p in then] == [(0, 2, 3), (1, 2, 3)]
  assert [(p.host, p.hosts, p.step) for p in now] == [(0, 1, 6)]
  assert end_now >= end
  assert {element for element in left_now if element < end} <= left, "used once, never again"
  assert len(left_now) - (end_now - end) < len(left), "and what was left is used"


@pytest.mark.cpu_only
@pytest.mark.integration_test
@pytest.mark.slow
def test_when_one_process_is_asked_to_stop_all_stop_at_the_same_step(tmp_path):
  keys = [*tiny.make_run(tmp_path), "run_name=asked", "per_device_batch_size=1", "steps=100000"]
  started = start(2, keys)
  metrics = tmp_path / "runs" / "asked" / "metrics.jsonl"
  until = time.monotonic() + 300
  while not (metrics.exists() and metrics.read_text()) and time.monotonic() < until:
    assert all(process.poll() is None for process in started)
    time.sleep(0.05)
  started[1].send_signal(signal.SIGTERM)
  said, _ = finish(started)
  done = len(metrics.read_text().splitlines())
  assert f"a signal to another host: stopped after step {done} of 100000; the same" in said
  folder = metrics.parent / "checkpoints"
  assert [path.name for path in folder.iterdir()] == [str(done)]
  assert [position.step for position in unused(folder, done)[2]] == [done, done]
