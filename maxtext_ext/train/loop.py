"""Training loop: restore, then for each step: evaluate, save, next batch, step, log."""

import contextlib
import gc
from dataclasses import dataclass

import jax

from maxtext_ext import bridge
from maxtext_ext.config import build, run_dir_of
from maxtext_ext.files.connection import reaching
from maxtext_ext.files.folder_lock import sole_writer
from maxtext_ext.hosts.join import joined
from maxtext_ext.input.layouts import LAYOUTS
from maxtext_ext.keys.settings import Overrides, Settings, read
from maxtext_ext.models.make import model_class
from maxtext_ext.parallel import to_device
from maxtext_ext.progress import ProgressLine, announce_first_call, say
from maxtext_ext.train import oom
from maxtext_ext.train.eval_decoding import BrokenOff
from maxtext_ext.train.evaluation import Findings
from maxtext_ext.train.length import with_steps
from maxtext_ext.train.setup import Run, prepare
from maxtext_ext.train.signals import StopRequest
from maxtext_ext.train.step import batch_shapes


@dataclass(frozen=True, kw_only=True)
class TrainResult:
  """Result of a run.

  Attributes:
    status: exit status of the process: 0 when training is finished, else that of the signal that
      stopped it.
  """

  steps: int  # completed: fewer than asked for when the run was asked to stop
  loss: float  # nats a target token, of the last step
  run_dir: str
  status: int = 0


def main(path: str, overrides: Overrides = ()) -> TrainResult:
  """Trains what a configuration file describes; returns when `steps` are done.

  Args:
    path, overrides: as `keys.settings.read` takes them.

  Raises:
    ValueError: for a configuration or data that cannot be used.
    OSError: the run cannot be saved, or a process of it is missing.
  """
  return run(read(path, overrides))


def run(settings: Settings) -> TrainResult:
  """Trains with settings that were read; raises as `main`."""
  with joined(settings):
    return train(build(settings))


def train(config: bridge.Config) -> TrainResult:
  """Trains until `config.steps`, from the run's latest checkpoint when there is one.

  SIGTERM or Ctrl-C saves and ends it earlier, as do `early_stopping_patience` evaluations without
  an improvement. When the device is out of memory, training resumes from the latest
  checkpoint with the same batches in smaller pieces.

  Raises:
    LockedError: another process trains this run.
  """
  config = with_steps(config)
  chief = jax.process_index() == 0
  alone = sole_writer(run_dir_of(config), "run", "run", instead="another run_name")
  with (
    StopRequest() as stop,
    alone if chief else contextlib.nullcontext(),
    reaching(config.base_output_directory),
  ):
    while True:
      try:
        return _train(config, stop)
      except jax.errors.JaxRuntimeError as error:
        config = oom.with_fewer_rows(config, error)
      gc.collect()  # what the attempt held on the device


def _train(config: bridge.Config, stop: StopRequest) -> TrainResult:
  chief = jax.process_index() == 0
  layout = LAYOUTS[model_class(config).LAYOUT]
  with (
    prepare(config) as run,
    bridge.mesh_scope(config, run.mesh),
    ProgressLine("train", config.steps, start=run.start, visible=chief) as progress,
  ):
    state, log, done = run.state, run.log, run.start
    step_fn = announce_first_call(
      run.step_fn, "compiling the training step", visible=chief, program=batch_shapes
    )
    if chief and run.start:
      say(_where_it_goes_on(config, run))

    def show() -> None:
      if note := log.flush():
        progress.update(done, note)

    while True:
      best = False
      if run.evaluation.due(done):  # also at the start of a resumed run, if it was interrupted
        show()
        try:
          best = _note(run, done, run.evaluation(done, state, progress, stop.asked))
        except BrokenOff:
          break
      if done > run.start and (best or done % config.checkpoint_period == 0):
        show()
        log.sync()
        run.checkpoints.save(done, state, run.batches.get_state())
      if done >= config.steps or run.best.ends_run or stop.asked():
        break
      batch = next(run.batches)
      state, metrics = step_fn(state, to_device(batch, run.placement))
      # The device works on this step while the host writes down the one before.
      show()
      done += 1
      inputs = {"input/wait_seconds": run.batches.waited, **run.batches.metrics()}
      batches = run.batches
      log.hold(
        done, metrics, layout.fill(batch), inputs, batches.records, unaligned=batches.unaligned
      )
      run.checkpoints.check()
    show()
    if done > run.start:
      log.sync()
      run.checkpoints.save(done, state, run.batches.get_state())
  over = done >= config.steps and not run.evaluation.due(done)
  if chief and not over:
    say(_why_it_ended(config, run, done, stop))
  elif chief and done > run.start:
    say(f"{run.run_dir}: {done} steps are done, loss {log.loss:.3f}{_best_of(run)}")
  status = 0 if over or run.best.ends_run else stop.status
  return TrainResult(steps=done, loss=log.loss, run_dir=run.run_dir, status=status)


def _note(run: Run, step: int, findings: Findings) -> bool:
  """Logs an evaluation; returns whether it is the best so far."""
  run.log.write_evaluation(step, findings)
  best = findings.scores is not None and run.best.note(step, findings.scores.wer)
  if jax.process_index() == 0:
    say(f"step {step}: {findings}{', the best so far' if best else ''}")
  return best


def _where_it_goes_on(config: bridge.Config, run: Run) -> str:
  if run.start < config.steps:
    return f"{run.run_dir}: resumes after step {run.start} of {config.steps}"
  return (
    f"{run.run_dir}: all {config.steps} steps were done before; to train more, give more steps, or"
    " another run_name"
  )


def _best_of(run: Run) -> str:
  if run.best.step is None:
    return ""
  return f"; the best word error rate is {run.best.wer:.2%}, of step {run.best.step}"


def _why_it_ended(config: bridge.Config, run: Run, done: int, stop: StopRequest) -> str:
  ended = f"stopped after step {done} of {config.steps}"
  if run.best.ends_run:
    return (
      f"{ended}: in {run.best.since} evaluations no better word error rate than"
      f" {run.best.lowest:.2%}; to continue, give an early_stopping_patience above"
      f" {run.best.since}, or 0"
    )
  kept = "the same command resumes from there"
  kept = kept if config.enable_checkpointing else "nothing is saved: enable_checkpointing=false"
  return f"{stop.name or 'a signal to another host'}: {ended}; {kept}"
