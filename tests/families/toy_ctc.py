"""A CTC model in one file: an encoder, a linear layer, and optax's CTC loss.

With `MODELS["toy_ctc"] = ToyCTC` and a yml that says `speech_model: toy_ctc` it is complete.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from maxtext_ext.audio.augment import apply_chunk_mask
from maxtext_ext.audio.mel import log_mel
from maxtext_ext.models.encoders import encoder_config, find_encoder
from maxtext_ext.models.interface import Batch, Sums
from maxtext_ext.models.layers import linear


class ToyCTC(nnx.Module):
  """Speech in, logits of letters out; id 0 is the blank."""

  LAYOUT = "bucketed"
  ENGINE = "ctc"
  GROUPS: ClassVar[dict[str, str]] = {"speech_encoder": "encoder", "head": "head"}
  EXTRA_SUMS = ("impossible",)

  def __init__(self, config: Any, mesh: Any, *, model_mode: str = "train", rngs: nnx.Rngs) -> None:
    del mesh, model_mode
    self.config = config
    encoder = encoder_config(config)
    self.geometry = encoder.geometry
    self.speech_encoder = find_encoder(config.speech_encoder)(encoder, rngs=rngs)
    dtypes = {"dtype": config.dtype, "weight_dtype": config.weight_dtype}
    axes = ("embed", "vocab")
    self.head = linear(encoder.out_dim, config.vocab_size, axes, rngs=rngs, **dtypes)

  def lengths(self, batch: Batch) -> Int[Array, "B"]:
    """Returns the number of audio tokens of each row's clip."""
    return jnp.sum(self.geometry.tokens(batch["chunk_frames"]), axis=(1, 2))

  def emissions(self, batch: Batch) -> tuple[Float[Array, "B F V"], Int[Array, "B"]]:
    """Computes the logits of every audio token, and how many are of each row's clip."""
    frames_BWC, segment_BWC = batch["chunk_frames"], batch["chunk_segment"]
    mels = self.speech_encoder.config.num_mel_bins
    mel_BWCFM = log_mel(batch["samples"], frames_BWC, segment_BWC, num_mel_bins=mels)
    if "chunk_mask" in batch:
      mel_BWCFM = apply_chunk_mask(mel_BWCFM, batch["chunk_mask"])
    tokens_BWAD = self.speech_encoder(mel_BWCFM, frames_BWC, segment_BWC)
    tokens_BFD = tokens_BWAD.reshape(tokens_BWAD.shape[0], -1, tokens_BWAD.shape[-1])
    return self.head(tokens_BFD).astype(jnp.float32), self.lengths(batch)

  def possible(self, batch: Batch) -> Bool[Array, "B"]:
    """Returns the rows that have enough audio tokens for their letters."""
    labels_BN, is_label_BN = batch["targets"], batch["targets_segmentation"] != 0
    # Between two equal letters a path has a blank.
    repeats_BN = (labels_BN[:, 1:] == labels_BN[:, :-1]) & is_label_BN[:, 1:]
    needed_B = jnp.sum(is_label_BN, axis=1) + jnp.sum(repeats_BN, axis=1)
    return needed_B <= self.lengths(batch)

  def count(self, batch: Batch) -> dict[str, jax.Array]:
    """Counts the letters of the clips that are long enough."""
    return {"targets": jnp.maximum(self._letters(batch), 1)}

  def _letters(self, batch: Batch) -> Float[Array, ""]:
    counted_BN = (batch["targets_segmentation"] != 0) & self.possible(batch)[:, None]
    return jnp.sum(counted_BN, dtype=jnp.float32)

  def sums(self, batch: Batch, key: jax.Array | None) -> Sums:
    """Sums the CTC loss; a clip too short for its letters is left out and counted."""
    del key  # nothing is random
    logits_BFV, lengths_B = self.emissions(batch)
    possible_B = self.possible(batch)
    padding_BF = (jnp.arange(logits_BFV.shape[1]) >= lengths_B[:, None]).astype(jnp.float32)
    label_padding_BN = (batch["targets_segmentation"] == 0).astype(jnp.float32)
    nats_B = optax.ctc_loss(logits_BFV, padding_BF, batch["targets"], label_padding_BN)
    impossible = jnp.sum(~possible_B, dtype=jnp.float32)
    nats = jnp.sum(jnp.where(possible_B, nats_B, 0.0))
    return Sums(nats, self._letters(batch), {"impossible": impossible})

  def objective(self, sums: Sums, counts: dict[str, jax.Array]) -> jax.Array:
    """Returns nats a letter."""
    return sums.nats / counts["targets"]

  def metrics(self, sums: Sums, counts: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Returns the loss, the letters, and the clips that were too short for their letters."""
    return {
      "loss": sums.nats / counts["targets"],
      "target_tokens": sums.targets,
      "impossible_clips": sums.extra["impossible"],
    }
