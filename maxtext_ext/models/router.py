"""Load balancing loss of a mixture of experts whose router trains.

MaxText's own loss of this kind counts the padding of a row as tokens, so the gate's logits are
taken out of the model and the loss is computed from them.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from maxtext_ext import bridge

_LOGITS = "logits"


class RecordingGate(bridge.GateLogit):
  """MaxText's gate, which also stores its logits as an `nnx.Intermediate`."""

  def __call__(self, *args: Any, **kwargs: Any) -> Any:
    """Computes the gate's output and stores its logits."""
    output = super().__call__(*args, **kwargs)
    setattr(self, _LOGITS, nnx.Intermediate(output[0]))
    return output


def record_logits(model: nnx.Module) -> None:
  """Makes the gates of a model store their logits."""
  for _, module in nnx.iter_graph(model):
    if type(module) is bridge.GateLogit:
      module.__class__ = RecordingGate


def summed_balance_loss(
  intermediates: nnx.State, real_BL: Bool[Array, "B L"], *, experts_per_token: int
) -> Float[Array, ""]:
  """Sums `balance_losses` of the rows times their real tokens; takes the mean over the layers.

  A sum, as of the cross-entropy: it does not depend on how rows are cut into batches.

  Args:
    intermediates: of a forward pass after `record_logits`.
  """
  logits = [
    variable.get_value()
    for path, variable in nnx.to_flat_state(intermediates)
    if path[-2:] == ("gate", _LOGITS)
  ]
  # Layer by layer; those that were scanned are stacked already.
  stacked = [x if x.ndim == 4 else x[None] for x in logits]
  tokens_B = jnp.sum(real_BL, axis=1, dtype=jnp.float32)

  @jax.checkpoint
  def one_layer(logits_BLE: Array) -> Array:
    losses_B = balance_losses(logits_BLE, real_BL, experts_per_token=experts_per_token)
    return jnp.sum(losses_B * tokens_B)

  return jnp.mean(jnp.concatenate([jax.lax.map(one_layer, x) for x in stacked]))


def balance_losses(
  logits_BLE: Float[Array, "B L E"], real_BL: Bool[Array, "B L"], *, experts_per_token: int
) -> Float[Array, "B"]:
  """Measures how unevenly a layer's router uses its experts, row by row; even: experts_per_token.

  E times the sum over experts of the share of a row's tokens that go to the expert and the mean
  probability that the router gives it: `load_balancing_loss_func` of transformers, for one row and
  one layer, padding masked. (It takes both means over the tokens of all layers together, where one
  layer's favourites are evened out by another's.) Source: Fedus et al., Switch Transformers, 2021.
  """
  experts = logits_BLE.shape[-1]
  chosen_BLK = jax.lax.top_k(logits_BLE, experts_per_token)[1]
  chosen_BLE = jnp.sum(jax.nn.one_hot(chosen_BLK, experts, dtype=jnp.float32), axis=2)
  chances_BLE = jax.nn.softmax(logits_BLE.astype(jnp.float32), axis=-1)
  weights_BL1 = (real_BL / jnp.maximum(jnp.sum(real_BL, axis=1, keepdims=True), 1))[..., None]
  share_BE = jnp.sum(chosen_BLE * weights_BL1, axis=1)
  chance_BE = jnp.sum(chances_BLE * weights_BL1, axis=1)
  return experts * jnp.sum(share_BE * chance_BE, axis=-1)
