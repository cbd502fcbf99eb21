"""Whisper's encoder: windows of 30 s, each of one clip padded with silence.

Two convolutions over a window, stored positions, and layers in which all 1,500 positions attend to
each other, those of the padding too. Equal to `WhisperEncoder` (transformers, models/whisper), also
with shorter windows; `stack` positions side by side become one audio token.
"""

from typing import Self

import jax
import jax.numpy as jnp
import pydantic
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int
from pydantic import Field

from maxtext_ext.audio.geometry import HOP, Geometry
from maxtext_ext.models.encoders.qwen3_audio import sinusoids
from maxtext_ext.models.encoders.transformer import TransformerConfig, run_layers, stack_layers
from maxtext_ext.models.layers import LayerNorm, by_rows, fan_in_normal, gelu, metadata

FRAMES_PER_CHUNK = 120  # 1.2 s, 60 positions, which stacks of 1 to 6 divide
POSITIONS_PER_CHUNK = FRAMES_PER_CHUNK // 2
POSITIONS = 1_500  # of a window of the published models, 30 s
KERNEL = 3  # frames that a convolution sees
MIN_SAMPLES = 1_600  # 0.1 s


class WhisperConfig(TransformerConfig):
  """Shape and arithmetic of a WhisperEncoder.

  Attributes:
    stack: positions that become one audio token; those left over at a clip's end are dropped.
    positions: of a window, 50 a second; `max_source_positions` in the checkpoints.
  """

  stack: int = Field(1, ge=1)
  positions: int = Field(POSITIONS, ge=POSITIONS_PER_CHUNK, multiple_of=POSITIONS_PER_CHUNK)

  @pydantic.model_validator(mode="after")
  def _check_stack(self) -> Self:
    if POSITIONS_PER_CHUNK % self.stack:
      raise ValueError(
        f"stack={self.stack} must divide {POSITIONS_PER_CHUNK}, the positions of 1.2 s"
      )
    return self

  @property
  def geometry(self) -> Geometry:
    """Chunks of 1.2 s, windows of one clip each."""
    return Geometry(
      frames_per_chunk=FRAMES_PER_CHUNK,
      halvings=1,
      stack=self.stack,
      chunks_per_window=self.positions // POSITIONS_PER_CHUNK,
      tails_share_windows=False,
      padded_windows=True,
      min_samples=max(MIN_SAMPLES, 2 * self.stack * HOP),
    )

  @property
  def out_dim(self) -> int:
    """Width of the audio tokens."""
    return self.stack * self.d_model

  def flops_per_window(self) -> float:
    """FLOPs of the matrix products of a forward pass over one window."""
    dim, positions = self.d_model, self.positions
    convolutions = 2 * KERNEL * dim * (2 * positions * self.num_mel_bins + positions * dim)
    return convolutions + self.layers_flops(positions)

  @property
  def widest_values_per_window(self) -> int:
    """Values that the second convolution sees, each as often as it is used."""
    return self.positions * KERNEL * self.d_model


class Conv1d(nnx.Module):
  """Convolution over KERNEL neighbours with padding 1; `kernel` [KERNEL, in, out], `bias` [out].

  Computed as one matrix product of the neighbours side by side, which is fast on every platform and
  in loops.
  """

  def __init__(
    self, in_dim: int, out_dim: int, *, stride: int, config: WhisperConfig, rngs: nnx.Rngs
  ) -> None:
    shape = (KERNEL, in_dim, out_dim)
    kernel = fan_in_normal(2.0)(rngs.params(), shape, config.weight_dtype)  # He: GELU drops half
    self.kernel = nnx.Param(kernel, **metadata(None, None, None))
    self.bias = nnx.Param(jnp.zeros(out_dim, config.weight_dtype), **metadata(None))
    self.stride, self.dtype = stride, config.dtype

  def __call__(self, x: Float[Array, "*N F I"]) -> Float[Array, "*N F2 O"]:
    """Convolves over F."""
    frames = x.shape[-2]
    padded = jnp.pad(x.astype(self.dtype), (*[(0, 0)] * (x.ndim - 2), (1, 1), (0, 0)))
    shifted = [padded[..., f : f + frames : self.stride, :] for f in range(KERNEL)]
    kernel = jnp.asarray(self.kernel[...], self.dtype)
    y = jnp.concatenate(shifted, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])
    return y + self.bias[...].astype(self.dtype)


def attend_to_all(q_BWANH: Array, k_BWANH: Array, v_BWANH: Array) -> Array:
  """Attends of all positions of a window to each other."""
  scores_BWNQA = jnp.einsum("BWQNH,BWANH->BWNQA", q_BWANH, k_BWANH).astype(jnp.float32)
  weights_BWNQA = jax.nn.softmax(scores_BWNQA, axis=-1).astype(v_BWANH.dtype)
  return jnp.einsum("BWNQA,BWANH->BWQNH", weights_BWNQA, v_BWANH)


class WhisperEncoder(nnx.Module):
  """Convolutions that make 50 positions of a second, and layers over windows of 30 s."""

  Config = WhisperConfig

  def __init__(self, config: WhisperConfig, *, rngs: nnx.Rngs) -> None:
    self.config = config
    dim = config.d_model
    self.conv1 = Conv1d(config.num_mel_bins, dim, stride=1, config=config, rngs=rngs)
    self.conv2 = Conv1d(dim, dim, stride=2, config=config, rngs=rngs)
    positions = jnp.asarray(sinusoids(config.positions, dim), config.weight_dtype)
    self.embed_positions = nnx.Param(positions, **metadata(None, "embed"))
    self.layers = stack_layers(config, key_bias=False, rngs=rngs)
    self.layer_norm = LayerNorm(
      dim, out_dtype=config.dtype, weight_dtype=config.weight_dtype, rngs=rngs
    )

  def __call__(
    self,
    mel_BWCFM: Float[Array, "B W C 120 M"],
    chunk_frames_BWC: Int[Array, "B W C"],
    chunk_segment_BWC: Int[Array, "B W C"],
  ) -> Float[Array, "B W A D"]:
    """Encodes windows, each alone.

    Args:
      mel_BWCFM: normalised log-mel of padded windows (`audio.mel.log_mel`).
      chunk_frames_BWC: not used, as there is no mask.
      chunk_segment_BWC: not used.

    Returns:
      [B, W, positions / stack, stack * d_model]. Of a clip the first `geometry.tokens(frames)` are
      its own, the others are of the silence behind it.
    """
    del chunk_frames_BWC, chunk_segment_BWC
    rows, windows, chunks, frames, mels = mel_BWCFM.shape
    mel_BWFM = mel_BWCFM.reshape(rows, windows, chunks * frames, mels)
    if self.config.unroll:
      x_BWAD = self._encode(mel_BWFM)
    else:
      # One window of every row at a time: the scores of a window take 4 * 1,500^2 bytes a head,
      # 108 MB in Whisper small. And whatever the number of windows, each is rounded alike.
      graph, weights = nnx.split(self)
      x_WBAD = lax.map(
        lambda mel_BFM: nnx.merge(graph, weights)._encode(by_rows(mel_BFM)[:, None])[:, 0],
        jnp.moveaxis(mel_BWFM, 1, 0),
      )
      x_BWAD = jnp.moveaxis(x_WBAD, 0, 1)
    config = self.config
    return x_BWAD.reshape(rows, windows, config.positions // config.stack, config.out_dim)

  def _encode(self, mel_BWFM: Float[Array, "B W F M"]) -> Float[Array, "B W A D"]:
    x_BWAD = gelu(self.conv2(gelu(self.conv1(mel_BWFM))))
    x_BWAD = x_BWAD + self.embed_positions[...].astype(x_BWAD.dtype)
    return self.layer_norm(run_layers(self.layers, x_BWAD, attend_to_all, self.config))
