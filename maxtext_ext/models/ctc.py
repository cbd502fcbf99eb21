"""SpeechCTC: a speech encoder with connectionist temporal classification (CTC) as its loss.

A row of a batch is one clip. The model gives every audio token of the encoder logits of the letters
and of the blank, id 0, and the loss sums over all ways to spread the letters over the tokens.
Source: Graves et al. 2006, "Connectionist temporal classification".
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from maxtext_ext import bridge
from maxtext_ext.audio.augment import apply_chunk_mask
from maxtext_ext.audio.mel import log_mel
from maxtext_ext.models.encoders import encoder_config, find_encoder
from maxtext_ext.models.interface import Batch, Sums
from maxtext_ext.models.layers import linear


def alignable(
  labels_BN: Int[Array, "B N"], is_label_BN: Bool[Array, "B N"], lengths_B: Int[Array, "B"]
) -> Bool[Array, "B"]:
  """Returns the rows with enough frames for their labels.

  A path has a frame for every label, and a blank between two equal ones. Of other rows the loss
  would be a large constant whose gradient is not 0.
  """
  repeats_BN = (labels_BN[:, 1:] == labels_BN[:, :-1]) & is_label_BN[:, 1:]
  needed_B = jnp.sum(is_label_BN, axis=1) + jnp.sum(repeats_BN, axis=1)
  return needed_B <= lengths_B


def ctc_losses(
  logits_BFV: Float[Array, "B F V"],
  lengths_B: Int[Array, "B"],
  labels_BN: Int[Array, "B N"],
  is_label_BN: Bool[Array, "B N"],
) -> Float[Array, "B"]:
  """Computes nats of the labels of each row; 0, without gradient, where they cannot be aligned.

  Args:
    logits_BFV: float32; index 0 is the blank.
    lengths_B: frames of each row's clip; the others do not count.
    labels_BN: ids from 1 on; what is no label stands behind them.
  """
  frames = jnp.arange(logits_BFV.shape[1])
  nats_B = optax.ctc_loss(
    logits_BFV,
    (frames >= lengths_B[:, None]).astype(jnp.float32),
    labels_BN,
    (~is_label_BN).astype(jnp.float32),
  )
  # Where the model is sure, optax's sums come out as much as 1e-6 below 0.
  nats_B = jnp.maximum(nats_B, 0.0)
  return jnp.where(alignable(labels_BN, is_label_BN, lengths_B), nats_B, 0.0)


class SpeechCTC(nnx.Module):
  """Speech in, logits of letters out.

  Parameters lie under `speech_encoder` and `head`.
  """

  LAYOUT = "bucketed"
  ENGINE = "ctc"
  GROUPS: ClassVar[dict[str, str]] = {"speech_encoder": "encoder", "head": "head"}
  EXTRA_SUMS = ("clips", "unaligned")

  def __init__(
    self,
    config: bridge.Config,
    mesh: Any,
    *,
    model_mode: str = bridge.MODEL_MODE_TRAIN,
    rngs: nnx.Rngs,
  ) -> None:
    del mesh, model_mode
    self.config = config
    encoder = encoder_config(config)
    self.geometry = encoder.geometry
    self.speech_encoder = find_encoder(config.speech_encoder)(encoder, rngs=rngs)
    # In float32, as is the loss: bfloat16 logits are off by more than a training step moves them.
    # The blank's bias starts at 0 as the others do; a larger one makes a model write nothing.
    self.head = linear(
      encoder.out_dim,
      config.vocab_size,
      ("embed", "vocab"),
      dtype=jnp.float32,
      weight_dtype=config.weight_dtype,
      rngs=rngs,
    )

  def lengths(self, batch: Batch) -> Int[Array, "B"]:
    """Counts the audio tokens of each row's clip."""
    return jnp.sum(self.geometry.tokens(batch["chunk_frames"]), axis=(1, 2))

  def mel(self, batch: Batch) -> Float[Array, "B W C F M"]:
    """Computes the log-mel of every chunk, with SpecAugment's masks where the batch has some."""
    chunks_BWC = batch["chunk_frames"].shape
    # `log_mel` loops over windows, of which such a row may have hundreds of a few frames each.
    samples, frames, segment = (
      batch[name].reshape(chunks_BWC[0], 1, -1, *batch[name].shape[3:])
      for name in ("samples", "chunk_frames", "chunk_segment")
    )
    bins = self.speech_encoder.config.num_mel_bins
    mel = log_mel(samples, frames, segment, num_mel_bins=bins)
    mel_BWCFM = mel.reshape(*chunks_BWC, *mel.shape[3:])
    if "chunk_mask" in batch:
      mel_BWCFM = apply_chunk_mask(mel_BWCFM, batch["chunk_mask"])
    return mel_BWCFM

  def emissions(
    self, batch: Batch, key: jax.Array | None = None
  ) -> tuple[Float[Array, "B F V"], Int[Array, "B"]]:
    """Computes float32 logits of every audio token, and how many are of each row's clip.

    The tokens of a clip are the first ones of its row.

    Args:
      key: of what is random in training; None: nothing is.
    """
    random = {"key": key} if self.speech_encoder.config.TAKES_KEY else {}
    tokens_BWAD = self.speech_encoder(
      self.mel(batch), batch["chunk_frames"], batch["chunk_segment"], **random
    )
    tokens_BFD = tokens_BWAD.reshape(tokens_BWAD.shape[0], -1, tokens_BWAD.shape[-1])
    return self.head(tokens_BFD.astype(jnp.float32)), self.lengths(batch)

  def count(self, batch: Batch) -> dict[str, jax.Array]:
    """Counts the letters of the clips that can be aligned, at least 1."""
    return {"targets": jnp.maximum(self._letters(batch), 1)}

  def _letters(self, batch: Batch) -> Float[Array, ""]:
    is_label_BN = batch["targets_segmentation"] != 0
    usable_B = alignable(batch["targets"], is_label_BN, self.lengths(batch))
    return jnp.sum(is_label_BN & usable_B[:, None], dtype=jnp.float32)

  def sums(self, batch: Batch, key: jax.Array | None) -> Sums:
    """Sums the CTC loss, and counts clips and those that cannot be aligned.

    Args:
      key: of what is random in training; None: nothing is, as in evaluation.
    """
    labels_BN, is_label_BN = batch["targets"], batch["targets_segmentation"] != 0
    logits_BFV, lengths_B = self.emissions(batch, key)
    nats_B = ctc_losses(logits_BFV, lengths_B, labels_BN, is_label_BN)
    unaligned_B = ~alignable(labels_BN, is_label_BN, lengths_B)
    extra = {
      "clips": jnp.sum(lengths_B > 0, dtype=jnp.float32),
      "unaligned": jnp.sum(unaligned_B, dtype=jnp.float32),
    }
    return Sums(jnp.sum(nats_B), self._letters(batch), extra)

  def objective(self, sums: Sums, counts: dict[str, jax.Array]) -> jax.Array:
    """Returns nats a letter."""
    return sums.nats / counts["targets"]

  def metrics(self, sums: Sums, counts: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Returns the loss, the letters, the clips, and those that cannot be aligned."""
    return {
      "loss": sums.nats / counts["targets"],
      "target_tokens": sums.targets,
      "clips": sums.extra["clips"],
      "unaligned_clips": sums.extra["unaligned"],
    }
