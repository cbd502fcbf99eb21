"""Run setup: the model state, restored or new, and the other inputs of the loop."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import jax
from flax import nnx
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding

from maxtext_ext import bridge
from maxtext_ext.checkpoint.adapter import AdapterRecord
from maxtext_ext.checkpoint.base import identify
from maxtext_ext.checkpoint.best import Best, read_evaluations
from maxtext_ext.checkpoint.fingerprint import (
  Fingerprint,
  check_model,
  fingerprint_of,
  metadata_of,
  read_fingerprint,
  refusal,
  warn_of_other_model,
  write_fingerprint,
)
from maxtext_ext.checkpoint.integrity import DamagedError, Verification
from maxtext_ext.checkpoint.model_file import write_model
from maxtext_ext.checkpoint.training import (
  TrainingCheckpoints,
  has_checkpoints,
  set_aside,
  with_base_weights,
)
from maxtext_ext.config import run_dir_of
from maxtext_ext.errors import one_line
from maxtext_ext.files.connection import failures
from maxtext_ext.input.pipeline import BatchIterator, InputConfig, train_iterator
from maxtext_ext.models.make import make_model
from maxtext_ext.models.parameter_groups import trainable
from maxtext_ext.parallel import gather_texts
from maxtext_ext.progress import announce_first_call
from maxtext_ext.run_identity import describe_differences
from maxtext_ext.text.templates import TEMPLATES
from maxtext_ext.train.encoder_cache import store_outputs
from maxtext_ext.train.evaluation import Evaluation
from maxtext_ext.train.metric_writer import MetricWriter
from maxtext_ext.train.optimizer import make_optimizer
from maxtext_ext.train.step import batch_shapes, eval_step, make_init_fn, train_step
from maxtext_ext.train.step_metrics import StepLog

_LINE = 300  # characters of an error of Orbax


@dataclass(frozen=True, kw_only=True)
class Run:
  """A run that is ready for its next step; a context manager that closes it.

  Attributes:
    start: steps completed before.
    state: after them.
    step_fn: `step.train_step`, compiled on first use: state and batch to state and metrics.
    batches: this host's, from where `start` left them.
    placement: of a batch on the mesh.
    best: the evaluations so far.
    run_dir: folder of everything that the run writes.
  """

  mesh: Mesh
  start: int
  state: nnx.State
  step_fn: Callable[..., Any]
  batches: BatchIterator
  placement: NamedSharding
  evaluation: Evaluation
  best: Best
  checkpoints: TrainingCheckpoints
  log: StepLog
  run_dir: str

  def __enter__(self) -> Self:
    return self

  def __exit__(
    self, kind: type[BaseException] | None, error: BaseException | None, trace: object
  ) -> None:
    self.batches.close()
    if isinstance(error, failures(self.run_dir)):
      return  # waiting for the running save would hang
    try:
      self.checkpoints.close()
    finally:
      self.log.close()


def prepare(config: bridge.Config) -> Run:
  """Sets up the run that a configuration describes, from its latest checkpoint if it has one.

  Raises:
    ValueError: its data, weights or checkpoints cannot be used.
  """
  config = with_base_weights(config)
  run_dir = run_dir_of(config)
  adapter = AdapterRecord.from_config(config)
  fingerprint = _identify(config, run_dir, adapter)
  mesh = bridge.make_mesh(config)
  tokenizer = TEMPLATES[config.template].open(config.tokenizer_path)
  tokenizer.require_rows(config.vocab_size)
  hosts, chief = jax.process_count(), jax.process_index() == 0
  rows = config.global_batch_size_to_load // hosts
  inputs = InputConfig.from_config(config, split=config.train_split, rows=rows)
  batches = train_iterator(
    inputs, tokenizer, steps=config.steps, host_index=jax.process_index(), host_count=hosts
  )

  schedule, tx = make_optimizer(config, mesh)
  init_fn = make_init_fn(config, lambda: make_model(config, mesh), tx)
  if config.enable_checkpointing:
    if chief:
      set_aside(config.checkpoint_dir)
    if hosts > 1:
      multihost_utils.sync_global_devices("incomplete checkpoints are set aside")
  best = Best(config.early_stopping_patience)
  manager = bridge.checkpoint_manager(config, best)
  checkpoints = TrainingCheckpoints(
    manager,
    background=config.async_checkpointing,
    adapter=adapter,
    saved=trainable(config) if adapter else None,
    metadata=metadata_of(fingerprint),
  )
  with bridge.mesh_scope(config, mesh):
    graphdef = nnx.graphdef(nnx.eval_shape(init_fn))
  source = manager if adapter is None else None  # a LoRA run's base weights are not in its own
  with (
    _restoring(config.checkpoint_dir, checkpoints.latest()),
    Verification(*checkpoints.read_by(config.load_parameters_path)),
  ):
    state, shardings, _ = bridge.init_train_state(config, mesh, source, init_fn)
    if adapter is not None:
      state = checkpoints.restore_adapters(state)
  if config.encoder_cache:
    batches.close()
    inputs = store_outputs(config, inputs, state)
    batches = train_iterator(
      inputs, tokenizer, steps=config.steps, host_index=jax.process_index(), host_count=hosts
    )
  start = checkpoints.latest() or 0
  if start:
    batches.resume(checkpoints.positions(start))
  past = _past_evaluations(run_dir, start)
  best.restore(past, checkpoints.steps())
  evaluated = past[-1][0] if past else 0

  p_train, p_eval = bridge.jit_steps(
    config, mesh, graphdef, state, shardings, train_step, eval_step
  )
  placement = bridge.input_sharding(config, mesh)
  evaluation = Evaluation(
    config,
    mesh,
    inputs.for_split(config.eval_split),
    tokenizer,
    evaluated=evaluated,
    step_fn=announce_first_call(
      p_eval, "compiling the evaluation", visible=chief, program=batch_shapes
    ),
    placement=placement,
  )
  if chief:
    write_model(config, run_dir)
    write_fingerprint(run_dir, fingerprint, config.load_parameters_path)
  board = config.tensorboard_dir if config.enable_tensorboard else None
  writer = MetricWriter(run_dir, board, start=start, evaluated=evaluated) if chief else None
  return Run(
    mesh=mesh,
    start=start,
    state=state,
    step_fn=p_train,
    batches=batches,
    placement=placement,
    evaluation=evaluation,
    best=best,
    checkpoints=checkpoints,
    log=StepLog(writer, schedule),
    run_dir=run_dir,
  )


@contextlib.contextmanager
def _restoring(checkpoint_dir: str, step: int | None) -> Iterator[None]:
  """Shortens Orbax's error for a mismatched checkpoint without fingerprint to one line.

  Orbax lists every parameter, in tens of kilobytes.
  """
  try:
    yield
  except DamagedError:
    raise
  except (ValueError, KeyError, TypeError) as error:
    said = one_line(error)
    if step is None or (isinstance(error, ValueError) and len(said) <= _LINE):
      raise
    raise ValueError(
      f"{os.path.join(checkpoint_dir, str(step))} does not fit this configuration: give the keys"
      f" that the run was trained with, or another run_name ({said[:_LINE]}...)"
    ) from error


def _identify(config: bridge.Config, run_dir: str, adapter: AdapterRecord | None) -> Fingerprint:
  """Computes and checks the fingerprint of the run, before anything is written.

  Raises:
    ValueError: the checkpoints in the run's folder are of another run, or the hosts differ.
  """
  path = config.load_parameters_path
  base = adapter.base_identity if adapter else identify(path) if path else ""
  ours = fingerprint_of(config, base_identity=base)
  said = ""
  if jax.process_index() == 0:
    if has_checkpoints(config.checkpoint_dir):
      said = refusal(read_fingerprint(run_dir), ours, run_dir, accepted=config.accept_changes)
    elif path and not adapter:
      warn_of_other_model(config, path)
  answers = [json.loads(text) for text in gather_texts(json.dumps([said, ours]))]
  if said := answers[0][0]:
    raise ValueError(said)
  if adapter and path:
    check_model(config, path, tokenizer=False, prompt=False)
  for number, (_, other) in enumerate(answers):
    if differences := describe_differences(other, answers[0][1], labels=("is", "on process 0")):
      raise ValueError(f"process {number} is of another run: {'; '.join(differences)}")
  return ours


def _past_evaluations(run_dir: str, start: int) -> list[tuple[int, float | None]]:
  """Returns the evaluations of a run up to `start`, as the first host reads them."""
  read = read_evaluations(run_dir, until=start) if start and jax.process_index() == 0 else []
  return [(step, wer) for step, wer in json.loads(gather_texts(json.dumps(read))[0])]
