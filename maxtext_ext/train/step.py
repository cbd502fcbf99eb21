"""One step of training and one of evaluation, as functions of state and batch alone."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from maxtext_ext import bridge
from maxtext_ext.models.speech_lm import Batch, SpeechLM
from maxtext_ext.train.loss import tiled_cross_entropy
from maxtext_ext.train.parts import trained

Metrics = dict[str, jax.Array]


def make_init_fn(config: bridge.Config, make: Any, tx: optax.GradientTransformation) -> Any:
  """The function that draws a train state: `make()` builds the model, AdamW's state is zero."""

  def init_fn() -> bridge.TrainState:
    model = make()
    return bridge.TrainState(model, nnx.Optimizer(model, tx, wrt=trained(config)))

  return init_fn


def summed_loss(model: SpeechLM, batch: Batch, *, dropout: bool) -> tuple[jax.Array, jax.Array]:
  """Cross-entropy summed over the target tokens of the batch, and their number."""
  hidden_BLD = model.hidden(batch, dropout=dropout)
  nnx.pop(model, nnx.Intermediate)
  model_def, state = nnx.split(model)
  return tiled_cross_entropy(
    lambda hidden_BTD: nnx.merge(model_def, state, copy=True).head(hidden_BTD),
    hidden_BLD,
    batch["targets"],
    batch["targets_segmentation"],
    tiles=model.config.num_vocab_tiling,
  )


def train_step(
  graphdef: nnx.GraphDef,
  config: bridge.Config,
  state_shardings: Any,
  params_shardings: Any,
  state: nnx.State,
  batch: Batch,
) -> tuple[nnx.State, Metrics]:
  """One update from `gradient_accumulation_steps` micro-batches of the batch's rows.

  The gradient is that of the mean over all target tokens of the batch, so it does not depend on how
  the rows are cut into micro-batches.

  Returns:
    the new state, and loss (nats a token), target tokens, gradient norm before clipping.
  """
  del state_shardings, params_shardings
  train_state = nnx.merge(graphdef, state)
  nnx.pop(train_state.model, nnx.Intermediate)
  wrt = trained(config)
  model_def, params, rest = nnx.split(train_state.model, wrt, ...)

  def loss_fn(params: nnx.State, rest: nnx.State, rows: Batch) -> tuple[jax.Array, Any]:
    model = nnx.merge(model_def, params, rest, copy=True)
    total, count = summed_loss(model, rows, dropout=config.enable_dropout)
    return total, (count, nnx.split(model, wrt, ...)[2])

  grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
  pieces = config.gradient_accumulation_steps
  if pieces == 1:
    (total, (count, rest)), grads = grad_fn(params, rest, batch)
  else:
    # Neighbouring rows go to different micro-batches, so that each device keeps its own rows.
    stacked = jax.tree.map(
      lambda x: x.reshape(x.shape[0] // pieces, pieces, *x.shape[1:]).swapaxes(0, 1), batch
    )

    def accumulate(carry: Any, rows: Batch) -> tuple[Any, None]:
      total, count, grads, rest = carry
      (more_total, (more_count, rest)), more_grads = grad_fn(params, rest, rows)
      grads = jax.tree.map(jnp.add, grads, more_grads)
      return (total + more_total, count + more_count, grads, rest), None

    zeros = jax.tree.map(jnp.zeros_like, params)
    start = (jnp.zeros(()), jnp.zeros(()), zeros, rest)
    (total, count, grads, rest), _ = jax.lax.scan(accumulate, start, stacked)
  tokens = jnp.maximum(count, 1.0)
  grads = jax.tree.map(lambda g: g / tokens.astype(g.dtype), grads)
  norm = optax.global_norm(grads)
  if config.gradient_clipping_threshold > 0:
    grads = bridge.clip_gradients(grads, config.gradient_clipping_threshold)
  nnx.update(train_state.model, rest)
  train_state.apply_gradients(grads)
  metrics = {"loss": total / tokens, "target_tokens": count, "gradient_norm": norm}
  return nnx.state(train_state, nnx.Not(nnx.Intermediate)), metrics


def eval_step(
  graphdef: nnx.GraphDef, config: bridge.Config, state: nnx.State, batch: Batch
) -> Metrics:
  """Loss of a batch without an update, as a sum in nats and the number of target tokens."""
  model = nnx.merge(graphdef, state).model
  total, count = summed_loss(model, batch, dropout=False)
  return {"total": total, "target_tokens": count}
