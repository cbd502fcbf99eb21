"""The training loop: restore, then for each step: next batch, step, log, evaluate, save."""

import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import jax

from maxtext_ext import bridge
from maxtext_ext.config import load
from maxtext_ext.hosts.join import joined
from maxtext_ext.input.pipeline import fill
from maxtext_ext.parallel import to_device
from maxtext_ext.train import oom
from maxtext_ext.train.length import with_steps
from maxtext_ext.train.metrics import ProgressLine
from maxtext_ext.train.setup import prepare
from maxtext_ext.train.signals import StopRequest


@dataclass(frozen=True, kw_only=True)
class TrainResult:
  """What a run ended with."""

  steps: int  # completed: fewer than asked for when the run was asked to stop
  loss: float  # nats a target token, of the last step
  run_dir: str


def main(path: str, overrides: Sequence[str] = ()) -> TrainResult:
  """Trains what a configuration file describes; returns when `steps` are done.

  Raises:
    ValueError: for a configuration or data that cannot be used.
    OSError: the run cannot be saved, or a process of it is missing.
  """
  with joined(path, overrides):
    return train(load(path, overrides))


def train(config: bridge.Config) -> TrainResult:
  """Trains until `config.steps`, from the run's latest checkpoint when there is one.

  SIGTERM or Ctrl-C ends it earlier, saved. When the device is out of memory, the run goes on from
  its latest checkpoint with the same batches in smaller pieces.
  """
  config = with_steps(config)
  with StopRequest() as stop:
    while True:
      try:
        return _train(config, stop)
      except jax.errors.JaxRuntimeError as error:
        config = oom.with_fewer_rows(config, error)
      gc.collect()  # what the attempt held on the device


def _train(config: bridge.Config, stop: StopRequest) -> TrainResult:
  chief = jax.process_index() == 0
  with (
    prepare(config) as run,
    bridge.mesh_scope(config, run.mesh),
    ProgressLine("train", config.steps, start=run.start, visible=chief) as progress,
  ):
    state, log, done = run.state, run.log, run.start
    while done < config.steps and not stop.asked():
      batch = next(run.batches)
      state, metrics = run.step_fn(state, to_device(batch, run.placement))
      # The device works on this step while the host writes down the one before.
      progress.update(done, log.flush())
      done += 1
      log.hold(done, metrics, fill(batch), run.batches.metrics(), run.batches.records)
      if run.evaluation.due(done):
        log.write(done, run.evaluation(state))
      if done % config.checkpoint_period == 0:
        log.sync()
        run.checkpoints.save(done, state, run.batches.get_state())
      run.checkpoints.check()
    progress.update(done, log.flush())
    if done > run.start:
      log.sync()
      run.checkpoints.save(done, state, run.batches.get_state())
  if done < config.steps and chief:
    kept = "the same command goes on from there"
    kept = kept if config.enable_checkpointing else "nothing is saved: enable_checkpointing=false"
    who = stop.name or "a signal to another host"
    sys.stderr.write(f"{who}: stopped after step {done} of {config.steps}; {kept}\n")
  return TrainResult(steps=done, loss=log.loss, run_dir=run.run_dir)
