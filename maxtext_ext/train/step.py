"""Training step and evaluation step, as functions of state and batch alone."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from maxtext_ext import bridge
from maxtext_ext.models.interface import Batch, Sums
from maxtext_ext.models.parameter_groups import trainable
from maxtext_ext.train.nonfinite import is_usable, update_if

Metrics = dict[str, jax.Array]
# (parameters that train, other variables, rows, number of the micro-batch) -> (gradients, (sums,
# other variables after the pass)).
GradientFn = Callable[..., tuple[nnx.State, tuple[Sums, nnx.State]]]


def make_init_fn(config: bridge.Config, make: Any, tx: optax.GradientTransformation) -> Any:
  """Returns the function that makes a new train state; `make()` builds the model."""

  def init_fn() -> bridge.TrainState:
    model = make()
    return bridge.TrainState(model, nnx.Optimizer(model, tx, wrt=trainable(config)))

  return init_fn


def train_step(
  graphdef: nnx.GraphDef,
  config: bridge.Config,
  state_shardings: Any,
  params_shardings: Any,
  state: nnx.State,
  batch: Batch,
) -> tuple[nnx.State, Metrics]:
  """Takes one update from `gradient_accumulation_steps` micro-batches of the batch's rows.

  The gradient is that of the mean over all target tokens of the batch, so it does not depend on how
  the rows are cut into micro-batches. Where it or the loss is not finite, there is no update.

  Returns:
    the new state, and the model's metrics, the gradient norm before clipping, and the updates since
    the run began.
  """
  del state_shardings, params_shardings
  # Merging may share the variables of `state`, and the update below would change them.
  state_before = jax.tree.map(lambda x: x, state)
  # Split off the trainable parameters, so that only they are differentiated.
  train_state = nnx.merge(graphdef, state)
  nnx.pop(train_state.model, nnx.Intermediate)
  wrt = trainable(config)
  model_def, params, others = nnx.split(train_state.model, wrt, ...)
  # Count targets before the first micro-batch: with a common divisor the gradients simply add up.
  counts = train_state.model.count(batch)
  # Derive the key from the number of the update, so that a resumed run draws the same masks.
  updates = train_state.optimizer.step[...]
  step_key = jax.random.fold_in(jax.random.key(config.data_shuffle_seed), updates)

  def objective(
    params: nnx.State, others: nnx.State, rows: Batch, number: int | jax.Array
  ) -> tuple[jax.Array, tuple[Sums, nnx.State]]:
    model = nnx.merge(model_def, params, others, copy=True)
    sums = model.sums(rows, jax.random.fold_in(step_key, number))
    return model.objective(sums, counts), (sums, nnx.split(model, wrt, ...)[2])

  # One pass over the batch, or several over micro-batches: less memory, the same gradients.
  gradient_fn = jax.grad(objective, has_aux=True)
  if config.gradient_accumulation_steps == 1:
    gradients, (sums, others) = gradient_fn(params, others, batch, 0)
  else:
    zeros = Sums.zeros(train_state.model.EXTRA_SUMS)
    pieces = split_rows(batch, config.gradient_accumulation_steps)
    gradients, (sums, others) = accumulate(gradient_fn, params, others, zeros, pieces)

  # The reported norm is the one before clipping, which shows instability first.
  norm = optax.global_norm(gradients)
  if config.gradient_clipping_threshold > 0:
    gradients = bridge.clip_gradients(gradients, config.gradient_clipping_threshold)
  metrics = train_state.model.metrics(sums, counts)
  # Update, then keep the state before it if the loss or the gradients were not finite.
  nnx.update(train_state.model, others)
  train_state.apply_gradients(gradients)
  state_after = nnx.state(train_state, nnx.Not(nnx.Intermediate))
  state = update_if(is_usable(metrics["loss"], norm), state_after, state_before)
  updates = state["optimizer"]["step"].get_value()
  return state, {**metrics, "gradient_norm": norm, "updates": updates}


def batch_shapes(state: nnx.State, batch: Batch) -> tuple[tuple[int, ...], ...]:
  """Returns the shapes of a batch: each is a program of its own, and a layout may have several."""
  del state  # the same at every step
  return tuple(array.shape for array in batch.values())


def split_rows(batch: Batch, pieces: int) -> Batch:
  """Splits the rows of a batch into micro-batches: [B, ...] -> [pieces, B / pieces, ...].

  Neighbouring rows go to different micro-batches, so that each device keeps its own rows.
  """
  return jax.tree.map(
    lambda x: x.reshape(x.shape[0] // pieces, pieces, *x.shape[1:]).swapaxes(0, 1), batch
  )


def accumulate(
  gradient_fn: GradientFn, params: nnx.State, others: nnx.State, zeros: Sums, pieces: Batch
) -> tuple[nnx.State, tuple[Sums, nnx.State]]:
  """Adds up gradients and sums over micro-batches, one after the other.

  Args:
    zeros: initial sums.
    pieces: of `split_rows`.
  """

  def add(carry: Any, piece: tuple[Batch, jax.Array]) -> tuple[Any, None]:
    gradients, sums, others = carry
    new_gradients, (new_sums, others) = gradient_fn(params, others, *piece)
    total = jax.tree.map(jnp.add, (gradients, sums), (new_gradients, new_sums))
    return (*total, others), None

  count = len(jax.tree.leaves(pieces)[0])
  start = jax.tree.map(jnp.zeros_like, params), zeros, others
  (gradients, sums, others), _ = jax.lax.scan(add, start, (pieces, jnp.arange(count)))
  return gradients, (sums, others)


def eval_step(
  graphdef: nnx.GraphDef, config: bridge.Config, state: nnx.State, batch: Batch
) -> Metrics:
  """Sums the loss of a batch, without an update: nats and the number of target tokens."""
  sums = nnx.merge(graphdef, state).model.sums(batch, None)
  return {"total": sums.nats, "target_tokens": sums.targets}
