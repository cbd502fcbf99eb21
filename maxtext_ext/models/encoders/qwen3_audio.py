"""The audio encoder of Qwen3-ASR in its static window form.

Chunks of 1 s are convolved alone and attend within windows of 8 chunks, so a batch is windows of
chunks of any clips, and its shape does not depend on their lengths. Equal to `Qwen3ASREncoder`
(transformers, models/qwen3_asr), clip by clip.
"""

from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Int
from pydantic import Field

from maxtext_ext.audio.geometry import Geometry
from maxtext_ext.models.encoders.transformer import (
  Attend,
  TransformerConfig,
  run_layers,
  stack_layers,
)
from maxtext_ext.models.layers import HalvingConv, LayerNorm, by_rows, gelu, linear

# Figures of `Qwen3ASRFeatureExtractor` and `Qwen3ASREncoder` (transformers, models/qwen3_asr).
GEOMETRY = Geometry(
  frames_per_chunk=100,  # 1 s
  halvings=3,
  chunks_per_window=8,
  tails_share_windows=True,
  min_samples=8_000,
)
MAX_TIMESCALE = 10_000.0  # of the sinusoidal positions
MASKED = -1e30  # a score; finite, so that rows without any key stay finite


class Qwen3AudioConfig(TransformerConfig):
  """Shape and arithmetic of a Qwen3AudioEncoder.

  Attributes:
    downsample_channels: of the convolutions; `downsample_hidden_size` in the checkpoints.
  """

  downsample_channels: int = Field(ge=1)

  @classmethod
  def from_keys(cls, config: Any) -> Self:
    """Reads MaxText's `*_for_audio` keys, which published models and older runs have."""
    if config.encoder:
      raise ValueError(
        f"encoder={config.encoder}: speech_encoder=qwen3_audio takes its shape from the"
        " *_for_audio keys; give those instead"
      )
    shape = {
      "num_mel_bins": config.num_mel_bins_for_audio,
      "d_model": config.d_model_for_audio,
      "layers": config.encoder_layers_for_audio,
      "heads": config.encoder_attention_heads_for_audio,
      "ffn_dim": config.encoder_ffn_dim_for_audio,
      "downsample_channels": config.downsample_hidden_size_for_audio,
    }
    return cls.checked({**shape, **cls.run_values(config)})

  def layer_overrides(self, layers: int) -> list[str]:
    """`key=value` overrides of a run that give the encoder another number of layers."""
    return [f"encoder_layers_for_audio={layers}"]

  @property
  def geometry(self) -> Geometry:
    """Chunks of 1 s and 13 tokens, windows of 8 s, in which the tails of clips meet."""
    return GEOMETRY

  @property
  def out_dim(self) -> int:
    """Width of the audio tokens, and of the layers."""
    return self.d_model

  def flops_per_window(self) -> float:
    """FLOPs of the matrix products of a forward pass over one window."""
    channels, dim, tokens = self.downsample_channels, self.d_model, GEOMETRY.tokens_per_window
    frames, mels, inputs, convolutions = GEOMETRY.frames_per_chunk, self.num_mel_bins, 1, 0.0
    for _ in range(GEOMETRY.halvings):
      frames, mels = -(-frames // 2), -(-mels // 2)
      convolutions += 2 * frames * mels * 9 * inputs * channels
      inputs = channels
    convolutions += 2 * GEOMETRY.tokens_per_chunk * channels * mels * dim
    return GEOMETRY.chunks_per_window * convolutions + self.layers_flops(tokens)

  @property
  def widest_values_per_window(self) -> int:
    """Values after the first convolution."""
    places = GEOMETRY.frames_per_chunk // 2 * (self.num_mel_bins // 2)
    return GEOMETRY.chunks_per_window * places * self.downsample_channels


def sinusoids(length: int, dim: int) -> np.ndarray:
  """Returns float32 [length, dim]: sines of falling frequency, then cosines, as Whisper's."""
  rate = np.exp(-np.log(MAX_TIMESCALE) / (dim // 2 - 1) * np.arange(dim // 2))
  angle = np.arange(length)[:, None] * rate
  return np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


def attention_mask(
  chunk_frames_BWC: Int[Array, "B W C"], chunk_segment_BWC: Int[Array, "B W C"]
) -> Bool[Array, "B W A A"]:
  """Lets real tokens of the same clip in the same window attend to each other."""
  index = jnp.arange(GEOMETRY.tokens_per_chunk)
  real_BWCA = index < GEOMETRY.tokens(chunk_frames_BWC)[..., None]
  segment_BWCA = jnp.where(real_BWCA, chunk_segment_BWC[..., None], 0)
  segment_BWA = segment_BWCA.reshape(*chunk_segment_BWC.shape[:2], -1)
  same = segment_BWA[..., :, None] == segment_BWA[..., None, :]
  return same & (segment_BWA[..., None, :] > 0)


def attend_where(mask_BWAA: Bool[Array, "B W A A"]) -> Attend:
  """Returns attention of the tokens of each window to those where the mask is True."""

  def attend(q_BWANH: Array, k_BWANH: Array, v_BWANH: Array) -> Array:
    scores_BWNQA = jnp.einsum("BWQNH,BWANH->BWNQA", q_BWANH, k_BWANH).astype(jnp.float32)
    scores_BWNQA = jnp.where(mask_BWAA[:, :, None], scores_BWNQA, MASKED)
    weights_BWNQA = jax.nn.softmax(scores_BWNQA, axis=-1).astype(v_BWANH.dtype)
    return jnp.einsum("BWNQA,BWANH->BWQNH", weights_BWNQA, v_BWANH)

  return attend


class Qwen3AudioEncoder(nnx.Module):
  """Convolutions that make 13 tokens of a second, positions, and layers over 8 s windows.

  The parameters of all layers are stacked: the leading axis of `layers` counts them.
  """

  Config = Qwen3AudioConfig

  def __init__(self, config: Qwen3AudioConfig, *, rngs: nnx.Rngs) -> None:
    self.config = config
    dtypes: dict[str, Any] = {"dtype": config.dtype, "weight_dtype": config.weight_dtype}
    channels = config.downsample_channels
    self.conv2d1 = HalvingConv(1, channels, rngs=rngs, **dtypes)
    self.conv2d2 = HalvingConv(channels, channels, rngs=rngs, **dtypes)
    self.conv2d3 = HalvingConv(channels, channels, rngs=rngs, **dtypes)
    features = channels * -(-config.num_mel_bins // 8)  # three halvings, each rounding up
    self.conv_out = linear(
      features, config.d_model, ("mlp", "embed"), use_bias=False, rngs=rngs, **dtypes
    )
    self.layers = stack_layers(config, key_bias=True, rngs=rngs)
    self.ln_post = LayerNorm(
      config.d_model, out_dtype=config.dtype, weight_dtype=config.weight_dtype, rngs=rngs
    )

  def __call__(
    self,
    mel_BWCFM: Float[Array, "B W C 100 M"],
    chunk_frames_BWC: Int[Array, "B W C"],
    chunk_segment_BWC: Int[Array, "B W C"],
  ) -> Float[Array, "B W A D"]:
    """Encodes windows of chunks.

    Args:
      mel_BWCFM: normalised log-mel (`audio.mel.log_mel`).
      chunk_frames_BWC: real frames in each chunk, 0..100; frames beyond them are not read.
      chunk_segment_BWC: number of the clip within its row, from 1; 0 where there is none.

    Returns:
      [B, W, C * 13, D] after `ln_post`, 13 tokens a chunk in order. Of these only the first
      `GEOMETRY.tokens(chunk_frames)` mean anything; the others are finite.
    """
    real_BWCF = jnp.arange(GEOMETRY.frames_per_chunk) < chunk_frames_BWC[..., None]
    mel_BWCFM = jnp.where(real_BWCF[..., None], mel_BWCFM, 0.0)
    x_BWAD = self._downsample(mel_BWCFM)
    attend = attend_where(attention_mask(chunk_frames_BWC, chunk_segment_BWC))
    x_BWAD = run_layers(self.layers, x_BWAD, attend, self.config)
    return self.ln_post(x_BWAD)

  def _downsample(self, mel_BWCFM: Array) -> Array:
    """Downsamples [B, W, C, 100, M] to [B, W, C * 13, D], every chunk alone, with positions."""
    rows, windows, chunks, _, _ = mel_BWCFM.shape
    if self.config.remat and not self.config.unroll:
      x_BWCAI = self._convolve_by_windows(mel_BWCFM)
    else:
      x_BWCAI = self._convolve(mel_BWCFM)
    x = self.conv_out(x_BWCAI.reshape(-1, *x_BWCAI.shape[3:]))
    x = x + sinusoids(GEOMETRY.tokens_per_chunk, self.config.d_model).astype(x.dtype)
    return x.reshape(rows, windows, chunks * GEOMETRY.tokens_per_chunk, -1)

  def _convolve(self, mel_BWCFM: Array) -> Array:
    """Convolves [..., C, 100, M] to [..., C, 13, I]: I is channels, and mels within a channel."""
    x = mel_BWCFM.reshape(-1, *mel_BWCFM.shape[-2:], 1)
    for conv in (self.conv2d1, self.conv2d2, self.conv2d3):
      x = gelu(conv(x))
    x = jnp.swapaxes(x, 2, 3)  # the checkpoints' order
    return x.reshape(*mel_BWCFM.shape[:-2], GEOMETRY.tokens_per_chunk, -1)

  def _convolve_by_windows(self, mel_BWCFM: Array) -> Array:
    """Applies `_convolve` to one window of every row at a time, recomputed in the backward pass.

    What is between the convolutions would be the largest array of a step: 3 MB a second of audio
    after the first, 6 GB for 16 rows of 15 windows, and four times as much in the backward pass.
    """
    graph, weights = nnx.split(self)

    @jax.checkpoint
    def convolve(mel_BCFM: Array) -> Array:
      return by_rows(nnx.merge(graph, weights)._convolve(by_rows(mel_BCFM)))

    return jnp.swapaxes(lax.map(convolve, jnp.swapaxes(mel_BWCFM, 0, 1)), 0, 1)
