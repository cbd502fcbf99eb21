"""The loss: cross-entropy on the transcript and its end, nothing else."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


def masked_cross_entropy(
  logits_BLV: Float[Array, "B L V"],
  targets_BL: Int[Array, "B L"],
  targets_segmentation_BL: Int[Array, "B L"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """Summed cross-entropy in nats, and the number of tokens it is summed over.

  Sums rather than a mean: micro-batches and hosts hold different numbers of target tokens, and
  only sums add up to the loss of the large batch.

  Args:
    targets_segmentation_BL: not 0 where the loss counts (target text and eos).
  """
  counts_BL = (targets_segmentation_BL != 0).astype(jnp.float32)
  nats_BL = optax.softmax_cross_entropy_with_integer_labels(
    logits_BLV.astype(jnp.float32), targets_BL
  )
  return jnp.sum(nats_BL * counts_BL), jnp.sum(counts_BL)
