"""The training loop: restore, then for each step: next batch, step, log, evaluate, save."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import NamedSharding

from maxtext_ext import bridge
from maxtext_ext.checkpoint.adapter import AdapterRecord
from maxtext_ext.checkpoint.model_file import write_model
from maxtext_ext.checkpoint.training import TrainingCheckpoints
from maxtext_ext.config import load
from maxtext_ext.input.pipeline import InputConfig, eval_iterator, fill, train_iterator
from maxtext_ext.models.speech_lm import make_model
from maxtext_ext.parallel import to_device
from maxtext_ext.text.tokenizer import Tokenizer
from maxtext_ext.train.length import with_steps
from maxtext_ext.train.metrics import MetricWriter, ProgressLine
from maxtext_ext.train.parts import make_optimizer
from maxtext_ext.train.step import eval_step, make_init_fn, train_step


@dataclass(frozen=True, kw_only=True)
class TrainResult:
  """What a run ended with."""

  steps: int
  loss: float  # nats a target token, of the last step
  run_dir: str


def main(path: str, overrides: Sequence[str] = ()) -> TrainResult:
  """Trains what a configuration file describes; returns when `steps` are done.

  Raises:
    ValueError: for a configuration or data that cannot be used.
  """
  return train(load(path, overrides))


def train(config: bridge.Config) -> TrainResult:
  """Trains until `config.steps`, from the run's latest checkpoint when there is one."""
  config = with_steps(config)
  mesh = bridge.make_mesh(config)
  tokenizer = Tokenizer.from_directory(config.tokenizer_path)
  hosts = {"host_index": jax.process_index(), "host_count": jax.process_count()}
  rows = config.global_batch_size_to_load // jax.process_count()
  inputs = InputConfig.from_config(config, split=config.train_split, rows=rows)
  batches = train_iterator(inputs, tokenizer, steps=config.steps, **hosts)

  schedule, tx = make_optimizer(config, mesh)
  init_fn = make_init_fn(config, lambda: make_model(config, mesh), tx)
  manager = bridge.checkpoint_manager(config, mesh, init_fn)
  adapter = AdapterRecord.from_config(config)
  checkpoints = TrainingCheckpoints(manager, background=config.async_checkpointing, adapter=adapter)
  with bridge.mesh_scope(config, mesh):
    graphdef = nnx.graphdef(nnx.eval_shape(init_fn))
  source = manager if adapter is None else None  # a LoRA run's base weights are not in its own
  state, shardings, _ = bridge.init_train_state(config, mesh, source, init_fn)
  if adapter is not None:
    state = checkpoints.restore_adapters(state)
  start = checkpoints.latest() or 0
  if start:
    batches.resume(checkpoints.positions(start))
  p_train, p_eval = bridge.jit_steps(
    config, mesh, graphdef, state, shardings, train_step, eval_step
  )
  placement = bridge.input_sharding(config, mesh)
  chief = jax.process_index() == 0
  run_dir = os.path.dirname(config.checkpoint_dir.rstrip("/"))
  if chief:
    write_model(config, run_dir)
  board = config.tensorboard_dir if config.enable_tensorboard else None
  writer = MetricWriter(run_dir, board, start=start) if chief else None
  log = _StepLog(writer, schedule)

  with (
    bridge.mesh_scope(config, mesh),
    ProgressLine("train", config.steps, start=start, visible=chief) as progress,
  ):
    for step in range(start, config.steps):
      batch = next(batches)
      state, metrics = p_train(state, to_device(batch, placement))
      # The device works on this step while the host writes down the one before.
      progress.update(step, log.flush())
      log.hold(step + 1, metrics, fill(batch), batches.metrics())
      if config.eval_interval > 0 and (step + 1) % config.eval_interval == 0:
        held_out = eval_iterator(inputs.for_split(config.eval_split), tokenizer, **hosts)
        log.write(step + 1, {"eval/loss": evaluate_loss(p_eval, state, held_out, placement)})
      last = step + 1 == config.steps
      if (step + 1) % config.checkpoint_period == 0 or last:
        log.sync()
        checkpoints.save(step + 1, state, batches.get_state())
    progress.update(config.steps, log.flush())
  checkpoints.close()
  log.close()
  return TrainResult(steps=config.steps, loss=log.loss, run_dir=run_dir)


def evaluate_loss(
  p_eval: Any, state: nnx.State, batches: Iterator[dict[str, np.ndarray]], placement: NamedSharding
) -> float:
  """Mean loss over all target tokens of the batches, in nats."""
  total = tokens = 0.0
  for batch in batches:
    metrics = jax.device_get(p_eval(state, to_device(batch, placement)))
    total += float(metrics["total"])
    tokens += float(metrics["target_tokens"])
  if tokens == 0:
    raise ValueError("the evaluation split has no target tokens: check eval_split and data_dir")
  return total / tokens


class _StepLog:
  """Numbers of one step, written when the next has been sent to the device."""

  def __init__(self, writer: MetricWriter | None, schedule: Any) -> None:
    self.loss = float("nan")
    self._writer = writer
    self._schedule = jax.jit(schedule)  # else a dozen small programs a step
    self._held: tuple[int, Any, Any, dict[str, float]] | None = None
    self._time = time.monotonic()

  def hold(self, step: int, metrics: Any, filled: Any, inputs: dict[str, float]) -> None:
    self._held = (step, metrics, filled, inputs)

  def flush(self) -> str:
    """Writes what is held; returns a note for the progress line."""
    if self._held is None:
      return ""
    (step, metrics, filled, inputs), self._held = self._held, None
    values = {key: float(value) for key, value in jax.device_get(metrics).items()}
    now = time.monotonic()
    seconds, self._time = now - self._time, now
    speed = filled.audio_seconds * jax.process_count() / max(seconds, 1e-9)
    self.loss = values["loss"]
    self.write(
      step,
      {
        "learning/loss": self.loss,
        "learning/learning_rate": float(self._schedule(step - 1)),
        "learning/gradient_norm": values["gradient_norm"],
        "learning/target_tokens": values["target_tokens"],
        "speed/audio_seconds_per_second": speed,
        "speed/step_seconds": seconds,
        "input/token_fill": filled.token_fill,
        "input/chunk_fill": filled.chunk_fill,
        **inputs,
      },
    )
    return f"loss {self.loss:.3f}  {speed:.0f} audio s/s  fill {filled.token_fill:.0%}"

  def sync(self) -> None:
    """Puts all numbers so far where a kill cannot take them: a checkpoint is to be saved."""
    self.flush()
    if self._writer is not None:
      self._writer.flush()

  def write(self, step: int, scalars: dict[str, float]) -> None:
    if self._writer is not None:
      self._writer.write(step, scalars)

  def close(self) -> None:
    if self._writer is not None:
      self._writer.close()
