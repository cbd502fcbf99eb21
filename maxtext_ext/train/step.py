"""One step of training and one of evaluation, as functions of state and batch alone."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from maxtext_ext import bridge
from maxtext_ext.models import lora_dropout, router
from maxtext_ext.models.loss import tiled_cross_entropy
from maxtext_ext.models.parameter_groups import trained
from maxtext_ext.models.speech_lm import Batch, SpeechLM
from maxtext_ext.train.nonfinite import is_usable, take_if

Metrics = dict[str, jax.Array]


def make_init_fn(config: bridge.Config, make: Any, tx: optax.GradientTransformation) -> Any:
  """The function that draws a train state: `make()` builds the model, AdamW's state is zero."""

  def init_fn() -> bridge.TrainState:
    model = make()
    return bridge.TrainState(model, nnx.Optimizer(model, tx, wrt=trained(config)))

  return init_fn


@dataclass(frozen=True)
class Sums:
  """Sums over the tokens of a batch, which add up over micro-batches as means would not.

  Attributes:
    nats: cross-entropy of the target tokens.
    targets: their number.
    balance: `router.summed_balance_loss` over the real tokens; 0 where it does not count.
  """

  nats: jax.Array
  targets: jax.Array
  balance: jax.Array


jax.tree_util.register_dataclass(Sums)


def sums(model: SpeechLM, batch: Batch, key: jax.Array | None) -> Sums:
  """Runs the model over a batch.

  Args:
    key: of what is random in training; None: nothing is, as in evaluation.
  """
  config = model.config
  balanced = key is not None and config.router_aux_loss_coef > 0
  if balanced:
    router.record_logits(model)
  if key is not None and config.lora_dropout:
    lora_dropout.give_keys(model, config.lora_dropout, key)
  hidden_BLD = model.hidden(batch, dropout=key is not None and config.enable_dropout)
  left_behind = nnx.pop(model, nnx.Any(nnx.Intermediate, lora_dropout.DropoutKey))
  balance = jnp.zeros(())
  if balanced:
    real_BL = batch["inputs_segmentation"] != 0
    balance = router.summed_balance_loss(
      left_behind, real_BL, experts_per_token=config.num_experts_per_tok
    )
  model_def, state = nnx.split(model)
  nats, targets = tiled_cross_entropy(
    lambda hidden_BTD: nnx.merge(model_def, state, copy=True).head(hidden_BTD),
    hidden_BLD,
    batch["targets"],
    batch["targets_segmentation"],
    tiles=config.num_vocab_tiling,
  )
  return Sums(nats, targets, balance)


def train_step(
  graphdef: nnx.GraphDef,
  config: bridge.Config,
  state_shardings: Any,
  params_shardings: Any,
  state: nnx.State,
  batch: Batch,
) -> tuple[nnx.State, Metrics]:
  """One update from `gradient_accumulation_steps` micro-batches of the batch's rows.

  The gradient is that of the mean over all target tokens of the batch, and of the mean of the
  router's loss over all real tokens, so it does not depend on how the rows are cut into
  micro-batches. Where it or the loss is not finite, there is no update.

  Returns:
    the new state, and loss (nats a token), target tokens, gradient norm before clipping, updates
    since the run began; where the router's loss counts, that of a token.
  """
  del state_shardings, params_shardings
  before = jax.tree.map(lambda x: x, state)  # merging may hand on the variables themselves
  train_state = nnx.merge(graphdef, state)
  nnx.pop(train_state.model, nnx.Intermediate)
  wrt = trained(config)
  model_def, params, rest = nnx.split(train_state.model, wrt, ...)
  # Known before the first micro-batch, so that gradients of parts of the mean are simply added.
  targets = jnp.maximum(jnp.sum(batch["targets_segmentation"] != 0, dtype=jnp.float32), 1)
  real = jnp.maximum(jnp.sum(batch["inputs_segmentation"] != 0, dtype=jnp.float32), 1)
  # From the number of the update, so that a run that was cut goes on with the same masks.
  updates = train_state.optimizer.step[...]
  step_key = jax.random.fold_in(jax.random.key(config.data_shuffle_seed), updates)

  def loss_fn(
    params: nnx.State, rest: nnx.State, rows: Batch, piece: int | jax.Array
  ) -> tuple[jax.Array, tuple[Sums, nnx.State]]:
    model = nnx.merge(model_def, params, rest, copy=True)
    of_rows = sums(model, rows, jax.random.fold_in(step_key, piece))
    loss = of_rows.nats / targets + config.router_aux_loss_coef * of_rows.balance / real
    return loss, (of_rows, nnx.split(model, wrt, ...)[2])

  grad_fn = jax.grad(loss_fn, has_aux=True)
  pieces = config.gradient_accumulation_steps
  if pieces == 1:
    grads, (whole, rest) = grad_fn(params, rest, batch, 0)
  else:
    # Neighbouring rows go to different micro-batches, so that each device keeps its own rows.
    stacked = jax.tree.map(
      lambda x: x.reshape(x.shape[0] // pieces, pieces, *x.shape[1:]).swapaxes(0, 1), batch
    )

    def accumulate(carry: Any, piece: tuple[Batch, jax.Array]) -> tuple[Any, None]:
      grads, so_far, rest = carry
      more_grads, (more, rest) = grad_fn(params, rest, *piece)
      return (*jax.tree.map(jnp.add, (grads, so_far), (more_grads, more)), rest), None

    zeros = jax.tree.map(jnp.zeros_like, params), Sums(*(jnp.zeros(()),) * 3)
    numbered = stacked, jnp.arange(pieces)
    (grads, whole, rest), _ = jax.lax.scan(accumulate, (*zeros, rest), numbered)
  norm = optax.global_norm(grads)
  if config.gradient_clipping_threshold > 0:
    grads = bridge.clip_gradients(grads, config.gradient_clipping_threshold)
  nnx.update(train_state.model, rest)
  train_state.apply_gradients(grads)
  after = nnx.state(train_state, nnx.Not(nnx.Intermediate))
  loss = whole.nats / targets
  state = take_if(is_usable(loss, norm), after, before)
  updates = state["optimizer"]["step"].get_value()
  metrics = {
    "loss": loss,
    "target_tokens": whole.targets,
    "gradient_norm": norm,
    "updates": updates,
  }
  if config.router_aux_loss_coef > 0:
    metrics["router_aux_loss"] = whole.balance / real
  return state, metrics


def eval_step(
  graphdef: nnx.GraphDef, config: bridge.Config, state: nnx.State, batch: Batch
) -> Metrics:
  """Loss of a batch without an update, as a sum in nats and the number of target tokens."""
  model = nnx.merge(graphdef, state).model
  found = sums(model, batch, None)
  return {"total": found.nats, "target_tokens": found.targets}
