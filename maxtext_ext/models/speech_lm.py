"""SpeechLM: an audio encoder and a projector in front of MaxText's decoder.

The audio tokens take the places of `<|audio_pad|>` among the token embeddings, and the complete
embeddings go to MaxText's decoder, which stays as it is.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from maxtext_ext import bridge
from maxtext_ext.audio.augment import apply_chunk_mask
from maxtext_ext.audio.mel import log_mel
from maxtext_ext.models import lora_dropout, router
from maxtext_ext.models.encoders import encoder_config, find_encoder
from maxtext_ext.models.interface import Batch, Sums
from maxtext_ext.models.loss import tiled_cross_entropy
from maxtext_ext.models.projector import ProjectorConfig, find_projector

_FRAME_DROPOUT = 2**32 - 1  # the number of its random stream, which no adapted layer has

# What a batch holds for the model; the rest is targets.
AUDIO_KEYS = ("audio_index", "samples", "chunk_frames", "chunk_segment", "chunk_mask")


class SpeechLM(bridge.Transformer):
  """Speech in, token logits out.

  Parameters lie under `speech_encoder`, `projector`, `token_embedder` and `decoder`.
  """

  LAYOUT = "packed"
  ENGINE = "slots"
  GROUPS: ClassVar[dict[str, str]] = {
    "speech_encoder": "encoder",
    "projector": "projector",
    "token_embedder": "lm",
    "decoder": "lm",
  }
  EXTRA_SUMS = ("balance",)

  def __init__(
    self,
    config: bridge.Config,
    mesh: Mesh,
    *,
    model_mode: str = bridge.MODEL_MODE_TRAIN,
    rngs: nnx.Rngs,
  ) -> None:
    quantization = bridge.make_quantization(config)
    super().__init__(config, mesh, quantization, model_mode=model_mode, rngs=rngs)
    # MaxText draws embeddings with standard deviation 1, from which tied logits of a new model
    # start about sqrt(emb_dim) too large.
    self.token_embedder = bridge.Embed(
      mesh=mesh,
      num_embeddings=config.vocab_size,
      num_features=config.emb_dim,
      dtype=config.dtype,
      attend_dtype=jnp.float32 if config.logits_dot_in_fp32 else config.dtype,
      embedding_init=jax.nn.initializers.normal(stddev=config.embedding_init_std),
      config=config,
      rngs=rngs,
    )
    audio = encoder_config(config)
    self.speech_encoder = find_encoder(config.speech_encoder)(audio, rngs=rngs)
    self.projector = find_projector(config.projector)(
      ProjectorConfig.from_keys(config, audio.out_dim), rngs=rngs
    )

  def encode(self, batch: Batch, *, key: jax.Array | None = None) -> Float[Array, "B W A D"]:
    """Computes the audio tokens of every window slot; those of no clip hold anything.

    Args:
      key: of `frame_dropout`; None: nothing is dropped.
    """
    if "encoded" in batch:
      return self.project(batch["encoded"], key=key)
    mel_BWCFM = self.mel(batch)
    if "chunk_mask" in batch:
      mel_BWCFM = apply_chunk_mask(mel_BWCFM, batch["chunk_mask"])
    return self.encode_mel(mel_BWCFM, batch["chunk_frames"], batch["chunk_segment"], key=key)

  def mel(self, batch: Batch) -> Float[Array, "B W C F M"]:
    """Computes the log-mel of every chunk, without masks."""
    encoder = self.speech_encoder.config
    return log_mel(
      batch["samples"],
      batch["chunk_frames"],
      batch["chunk_segment"],
      num_mel_bins=encoder.num_mel_bins,
      padded_windows=encoder.geometry.padded_windows,
    )

  def encode_mel(
    self,
    mel_BWCFM: Float[Array, "B W C F M"],
    chunk_frames_BWC: Int[Array, "B W C"],
    chunk_segment_BWC: Int[Array, "B W C"],
    *,
    key: jax.Array | None = None,
  ) -> Float[Array, "B W A D"]:
    """Computes the audio tokens of windows from their log-mel; windows do not see each other.

    Args:
      key: of `frame_dropout`; None: nothing is dropped.
    """
    tokens_BWAD = self.speech_encoder(mel_BWCFM, chunk_frames_BWC, chunk_segment_BWC)
    return self.project(tokens_BWAD, key=key)

  def project(
    self, tokens_BWAD: Float[Array, "B W A E"], *, key: jax.Array | None = None
  ) -> Float[Array, "B W A D"]:
    """Projects the encoder's outputs to the width of the language model.

    Args:
      key: of `frame_dropout`; None: nothing is dropped.
    """
    if key is not None:
      # As masks of SpecAugment, for which it stands behind a frozen encoder: the others keep their
      # size.
      kept_BWA1 = jax.random.bernoulli(
        key, 1 - self.config.frame_dropout, (*tokens_BWAD.shape[:-1], 1)
      )
      tokens_BWAD = jnp.where(kept_BWA1, tokens_BWAD, 0)
    return self.projector(tokens_BWAD)

  def embed(
    self,
    inputs_BL: Int[Array, "B L"],
    batch: Batch,
    model_mode: str,
    *,
    key: jax.Array | None = None,
  ) -> Float[Array, "B L D"]:
    """Puts the audio tokens of a batch at `audio_index` and token embeddings elsewhere."""
    audio_BWAD = self.encode(batch, key=key)
    return self.place_audio(inputs_BL, audio_BWAD, batch["audio_index"], model_mode)

  def place_audio(
    self,
    inputs_BL: Int[Array, "B L"],
    audio_BWAD: Float[Array, "B W A D"],
    index_BL: Int[Array, "B L"],
    model_mode: str,
  ) -> Float[Array, "B L D"]:
    """Puts audio tokens where their index is not negative, and token embeddings elsewhere."""
    text_BLD = self.decoder.embed_tokens(self.token_embedder, inputs_BL, model_mode)
    rows, windows, tokens, dim = audio_BWAD.shape
    audio_BTD = audio_BWAD.reshape(rows, windows * tokens, dim).astype(text_BLD.dtype)
    index_BL1 = index_BL[..., None]
    placed_BLD = jnp.take_along_axis(audio_BTD, jnp.maximum(index_BL1, 0), axis=1)
    return jnp.where(index_BL1 >= 0, placed_BLD, text_BLD)

  def hidden(
    self,
    batch: Batch,
    *,
    model_mode: str = bridge.MODEL_MODE_TRAIN,
    dropout: bool = False,
    frame_key: jax.Array | None = None,
  ) -> Float[Array, "B L D"]:
    """Computes hidden states after the last decoder layer, before the final norm and the head.

    Without the audio keys in `batch` the embeddings are those of the tokens alone, as in the steps
    of generation.

    Args:
      dropout: whether the decoder's own dropout is on.
      frame_key: of `frame_dropout`; None: nothing is dropped.
    """
    inputs_BL, positions_BL = batch["inputs"], batch["inputs_position"]
    embeddings = None
    if "audio_index" in batch:
      embeddings = self.embed(inputs_BL, batch, model_mode, key=frame_key)
    # The decoder computes logits too; under jit, unused results are not computed.
    _, hidden_BLD, *_ = self.decoder(
      shared_embedding=self.token_embedder,
      decoder_input_tokens=inputs_BL,
      decoder_input_embeddings=embeddings,
      decoder_positions=positions_BL,
      decoder_segment_ids=batch.get("inputs_segmentation"),
      deterministic=not dropout,
      model_mode=model_mode,
    )
    return hidden_BLD

  def head(
    self, hidden_BLD: Float[Array, "B L D"], *, model_mode: str = bridge.MODEL_MODE_TRAIN
  ) -> Float[Array, "B L V"]:
    """Computes float32 logits of hidden states: the final norm and the output projection."""
    config = self.config
    plain = not (config.normalize_embedding_logits or config.final_logits_soft_cap)
    if not (config.logits_via_embedding and plain):
      return self.decoder.apply_output_head(
        shared_embedding=self.token_embedder,
        y=hidden_BLD,
        deterministic=True,
        model_mode=model_mode,
      )
    # MaxText rounds a tied table to bfloat16 here whatever the dtype: 2e-3 of the largest logit.
    dtype = jnp.float32 if config.logits_dot_in_fp32 else config.dtype
    table_VD = self.token_embedder.embedding[...].astype(dtype)
    normed_BLD = self.decoder.decoder_norm(hidden_BLD).astype(dtype)
    return jnp.einsum("BLD,VD->BLV", normed_BLD, table_VD, preferred_element_type=jnp.float32)

  def __call__(self, batch: Batch, *, dropout: bool = False) -> Float[Array, "B L V"]:
    """Computes the logits of every position of packed rows."""
    return self.head(self.hidden(batch, dropout=dropout))

  def count(self, batch: Batch) -> dict[str, jax.Array]:
    """Counts target tokens and real tokens, each at least 1."""
    return {
      name: jnp.maximum(jnp.sum(batch[key] != 0, dtype=jnp.float32), 1)
      for name, key in (("targets", "targets_segmentation"), ("tokens", "inputs_segmentation"))
    }

  def sums(self, batch: Batch, key: jax.Array | None) -> Sums:
    """Sums the cross-entropy of the target tokens and, where it counts, the router's loss.

    Args:
      key: of what is random in training; None: nothing is, as in evaluation.
    """
    config = self.config
    balanced = key is not None and config.router_aux_loss_coef > 0
    if balanced:
      router.record_logits(self)
    if key is not None and config.lora_dropout:
      lora_dropout.give_keys(self, config.lora_dropout, key)
    frame_key = None
    if key is not None and config.frame_dropout:
      frame_key = jax.random.fold_in(key, _FRAME_DROPOUT)
    hidden_BLD = self.hidden(
      batch, dropout=key is not None and config.enable_dropout, frame_key=frame_key
    )
    recorded = nnx.pop(self, nnx.Any(nnx.Intermediate, lora_dropout.DropoutKey))
    balance = jnp.zeros(())
    if balanced:
      real_BL = batch["inputs_segmentation"] != 0
      balance = router.summed_balance_loss(
        recorded, real_BL, experts_per_token=config.num_experts_per_tok
      )
    model_def, state = nnx.split(self)
    nats, targets = tiled_cross_entropy(
      lambda hidden_BTD: nnx.merge(model_def, state, copy=True).head(hidden_BTD),
      hidden_BLD,
      batch["targets"],
      batch["targets_segmentation"],
      tiles=config.num_vocab_tiling,
    )
    return Sums(nats, targets, {"balance": balance})

  def objective(self, sums: Sums, counts: dict[str, jax.Array]) -> jax.Array:
    """Returns nats a target token, and the router's weighted loss a real token."""
    balance = self.config.router_aux_loss_coef * sums.extra["balance"] / counts["tokens"]
    return sums.nats / counts["targets"] + balance

  def metrics(self, sums: Sums, counts: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Returns the loss, the number of target tokens and, where it counts, the router's loss."""
    metrics = {"loss": sums.nats / counts["targets"], "target_tokens": sums.targets}
    if self.config.router_aux_loss_coef > 0:
      metrics["router_aux_loss"] = sums.extra["balance"] / counts["tokens"]
    return metrics
