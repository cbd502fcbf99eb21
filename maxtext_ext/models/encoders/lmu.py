"""An encoder of attention and Legendre memory units, for rows of one clip each.

The windows and chunks of a row are joined to one sequence, which attention sees whole. Padding
behind a clip changes nothing: attention masks it, and memories look backwards alone.
"""

from typing import Any, ClassVar, Literal, Self

import jax
import jax.numpy as jnp
import pydantic
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Int
from pydantic import Field

from maxtext_ext.audio.geometry import Geometry
from maxtext_ext.models.batch_norm import BatchNorm
from maxtext_ext.models.encoders.base import EncoderConfig
from maxtext_ext.models.layers import HalvingConv, LayerNorm, by_rows, gelu, linear
from maxtext_ext.models.lmu import LMU, LMUFFT
from maxtext_ext.models.lmu import LMUConfig as LayerConfig

FRAMES_PER_CHUNK = 8  # 80 ms, which can be halved twice


class LMUEncoderConfig(EncoderConfig):
  """Shape and arithmetic of an LMUEncoder; norms, softmax and memories are float32 always.

  Attributes:
    width: of the layers and the tokens.
    heads: of the attention.
    memory: coefficients of a memory.
    memory_d: memories of a layer, each with an input of its own.
    theta: audio tokens that a memory describes.
    form: recurrent (`lmu.LMU`, whose memory reads its own output) or fft (`lmu.LMUFFT`, which
      computes all tokens together).
    subsampling: mel frames of a token.
    channels: of the convolutions that subsample.
    norm: batch normalises what enters the layers (`BatchNorm`).
    dropout: share of each layer's output that is dropped in training.
  """

  ONE_CLIP_A_ROW: ClassVar[bool] = True
  TAKES_KEY: ClassVar[bool] = True

  layers: int = Field(ge=1)
  width: int = Field(ge=1)
  heads: int = Field(8, ge=1)
  memory: int = Field(256, ge=1)
  memory_d: int = Field(1, ge=1)
  theta: float = Field(100.0, ge=1)
  form: Literal["recurrent", "fft"] = "fft"
  subsampling: Literal[1, 2, 4] = 2
  channels: int = Field(32, ge=1)
  norm: Literal["none", "batch"] = "none"
  dropout: float = Field(0.1, ge=0, lt=1)

  @pydantic.model_validator(mode="after")
  def _check_width(self) -> Self:
    if self.width % self.heads:
      raise ValueError(f"width={self.width} must be a multiple of heads={self.heads}")
    return self

  @property
  def halvings(self) -> int:
    """Convolutions of stride 2."""
    return self.subsampling.bit_length() - 1

  @property
  def features(self) -> int:
    """Values of a token before it is projected to the width."""
    if not self.halvings:
      return self.num_mel_bins
    return self.channels * -(-self.num_mel_bins // self.subsampling)

  @property
  def layer(self) -> LayerConfig:
    """Config of the memory layers."""
    return LayerConfig(
      inputs=self.width,
      hidden=self.width,
      memory=self.memory,
      theta=self.theta,
      channels=self.memory_d,
      dtype=self.dtype,
      weight_dtype=self.weight_dtype,
    )

  @property
  def geometry(self) -> Geometry:
    """Windows of one chunk of 80 ms, so that rows are as long as their clips."""
    return Geometry(
      frames_per_chunk=FRAMES_PER_CHUNK,
      halvings=self.halvings,
      chunks_per_window=1,
      tails_share_windows=False,
      min_samples=1_600,  # 0.1 s
    )

  @property
  def out_dim(self) -> int:
    """Width of the audio tokens, and of the layers."""
    return self.width

  def flops_per_window(self) -> float:
    """FLOPs of the matrix products over one window; attention as if the row had no other."""
    return self.flops_per_row(1)

  def flops_per_row(self, windows: int) -> float:
    """FLOPs of the matrix products over a row, whose tokens attend to each other."""
    tokens, width = windows * self.geometry.tokens_per_window, self.width
    states = self.layer.states
    frames, mels, inputs, front = windows * FRAMES_PER_CHUNK, self.num_mel_bins, 1, 0.0
    for _ in range(self.halvings):
      frames, mels = frames // 2, -(-mels // 2)
      front += 2 * frames * mels * 9 * inputs * self.channels
      inputs = self.channels
    attention = 4 * width**2 + 2 * tokens * width
    memory = width * self.memory_d + (width + states) * width
    if self.form == "recurrent":
      memory += width**2 + (width + states) * self.memory_d + states * self.memory
    per_token = self.features * width + self.layers * (attention + memory) + width**2
    return front + 2 * tokens * per_token

  @property
  def widest_values_per_window(self) -> int:
    """Values after the first convolution, or of the mel frames."""
    mels = self.num_mel_bins
    if not self.halvings:
      return FRAMES_PER_CHUNK * mels
    return FRAMES_PER_CHUNK // 2 * -(-mels // 2) * self.channels


class SelfAttention(nnx.Module):
  """Multi-head attention over a whole row."""

  def __init__(self, config: LMUEncoderConfig, *, rngs: nnx.Rngs) -> None:
    width = config.width
    dtypes: dict[str, Any] = {"dtype": config.dtype, "weight_dtype": config.weight_dtype}
    self.q_proj = linear(width, width, ("embed", "heads"), rngs=rngs, **dtypes)
    self.k_proj = linear(width, width, ("embed", "heads"), rngs=rngs, **dtypes)
    self.v_proj = linear(width, width, ("embed", "heads"), rngs=rngs, **dtypes)
    self.out_proj = linear(width, width, ("heads", "embed"), rngs=rngs, **dtypes)
    self.heads = config.heads

  def __call__(
    self, x_BTD: Float[Array, "B T D"], real_BT: Bool[Array, "B T"]
  ) -> Float[Array, "B T D"]:
    """Attends to the tokens that are real."""
    by_head = (*x_BTD.shape[:-1], self.heads, -1)
    out_BTNH = jax.nn.dot_product_attention(
      self.q_proj(x_BTD).reshape(by_head),
      self.k_proj(x_BTD).reshape(by_head),
      self.v_proj(x_BTD).reshape(by_head),
      mask=real_BT[:, None, None],
    )
    return self.out_proj(out_BTNH.reshape(x_BTD.shape))


class EncoderLayer(nnx.Module):
  """Attention, memory and LayerNorm: x = LN(x + attend(x)); x = LN(LMU(x)), without a residual."""

  def __init__(self, config: LMUEncoderConfig, *, rngs: nnx.Rngs) -> None:
    norms = {"out_dtype": config.dtype, "weight_dtype": config.weight_dtype}
    self.self_attn = SelfAttention(config, rngs=rngs)
    self.self_attn_layer_norm = LayerNorm(config.width, rngs=rngs, **norms)
    self.lmu = (LMU if config.form == "recurrent" else LMUFFT)(config.layer, rngs=rngs)
    self.final_layer_norm = LayerNorm(config.width, rngs=rngs, **norms)
    self.dropout = config.dropout

  def __call__(
    self, x_BTD: Float[Array, "B T D"], real_BT: Bool[Array, "B T"], key: jax.Array | None
  ) -> Float[Array, "B T D"]:
    """Applies the layer to rows, whose padding is zero before and after.

    Args:
      key: of the dropout; None: there is none.
    """
    x_BTD = self.self_attn_layer_norm(x_BTD + self.self_attn(x_BTD, real_BT))
    # Memories see zeros behind the end.
    x_BTD = self.lmu(jnp.where(real_BT[..., None], x_BTD, 0))[0]
    x_BTD = self.final_layer_norm(x_BTD)
    if key is not None and self.dropout:
      kept = jax.random.bernoulli(key, 1 - self.dropout, x_BTD.shape)
      x_BTD = jnp.where(kept, x_BTD / (1 - self.dropout), 0).astype(x_BTD.dtype)
    return jnp.where(real_BT[..., None], x_BTD, 0)


class LMUEncoder(nnx.Module):
  """Convolutions that subsample, a projection, layers, and a last projection.

  The parameters of all layers are stacked: the leading axis of `layers` counts them.
  """

  Config = LMUEncoderConfig

  def __init__(self, config: LMUEncoderConfig, *, rngs: nnx.Rngs) -> None:
    self.config = config
    dtypes: dict[str, Any] = {"dtype": config.dtype, "weight_dtype": config.weight_dtype}
    inputs = (1, *(config.channels,) * (config.halvings - 1))[: config.halvings]
    self.convs = nnx.List(HalvingConv(i, config.channels, rngs=rngs, **dtypes) for i in inputs)
    self.proj_in = linear(config.features, config.width, ("mlp", "embed"), rngs=rngs, **dtypes)
    if config.norm == "batch":
      self.norm = BatchNorm(config.width, out_dtype=config.dtype, weight_dtype=config.weight_dtype)

    @nnx.split_rngs(splits=config.layers)
    @nnx.vmap(in_axes=(0,), out_axes=0, transform_metadata={nnx.PARTITION_NAME: "layers"})
    def stack(rngs: nnx.Rngs) -> EncoderLayer:
      return EncoderLayer(config, rngs=rngs)

    self.layers = stack(rngs)
    self.proj_out = linear(config.width, config.width, ("mlp", "embed"), rngs=rngs, **dtypes)

  def __call__(
    self,
    mel_BWCFM: Float[Array, "B W C F M"],
    chunk_frames_BWC: Int[Array, "B W C"],
    chunk_segment_BWC: Int[Array, "B W C"],
    *,
    key: jax.Array | None = None,
  ) -> Float[Array, "B W A D"]:
    """Encodes rows of one clip each, whose chunks stand in order from the row's first.

    Args:
      mel_BWCFM: normalised log-mel (`audio.mel.log_mel`).
      chunk_frames_BWC: real frames in each chunk, 0..F; frames beyond them are not read.
      chunk_segment_BWC: 1 where there is a chunk of the clip, else 0.
      key: of the dropout in training, where batch norm takes the batch's statistics; None: there
        is no dropout, and batch norm takes its running averages.

    Returns:
      [B, W, C * tokens_per_chunk, D]; tokens behind the end of a clip are finite.
    """
    rows, windows, _, _, mels = mel_BWCFM.shape
    frames_B = jnp.sum(jnp.where(chunk_segment_BWC > 0, chunk_frames_BWC, 0), axis=(1, 2))
    x_BTD, real_BT = self._front(mel_BWCFM.reshape(rows, -1, mels), frames_B)
    if self.config.norm == "batch":
      x_BTD = self.norm(x_BTD, real_BT, train=key is not None)
    x_BTD = self._run_layers(x_BTD, real_BT, key)
    return self.proj_out(x_BTD).reshape(rows, windows, -1, self.config.width)

  def _front(
    self, mel_BFM: Float[Array, "B F M"], frames_B: Int[Array, "B"]
  ) -> tuple[Float[Array, "B T D"], Bool[Array, "B T"]]:
    """Subsamples and projects; returns tokens, 0 behind a clip, and which are real."""
    x, real_BT = mel_BFM[..., None].astype(self.config.dtype), _real(mel_BFM, frames_B)
    x = jnp.where(real_BT[..., None, None], x, 0)
    for conv in self.convs:
      frames_B = (frames_B + 1) // 2
      x = gelu(conv(x))
      real_BT = _real(x, frames_B)
      # The next convolution looks one frame ahead.
      x = jnp.where(real_BT[..., None, None], x, 0)
    x_BTD = self.proj_in(x.reshape(*x.shape[:2], -1))
    return jnp.where(real_BT[..., None], x_BTD, 0), real_BT

  def _run_layers(self, x_BTD: Array, real_BT: Array, key: jax.Array | None) -> Array:
    """Scans over the stacked layers: one layer is compiled, whatever their number."""
    graph, stacked = nnx.split(self.layers)
    keys = None if key is None else jax.random.split(key, self.config.layers)

    def step(x_BTD: Array, layer: tuple[nnx.State, jax.Array | None]) -> tuple[Array, None]:
      weights, key = layer
      return by_rows(nnx.merge(graph, weights)(by_rows(x_BTD), real_BT, key)), None

    if self.config.remat:
      # A loop has nothing that the compiler could find twice.
      step = jax.checkpoint(step, prevent_cse=self.config.unroll)
    x_BTD, _ = lax.scan(step, x_BTD, (stacked, keys), unroll=self.config.unroll)
    return x_BTD


def _real(x_BT: Array, count_B: Int[Array, "B"]) -> Bool[Array, "B T"]:
  """Returns which of the steps along the second axis are of a row's clip."""
  return jnp.arange(x_BT.shape[1]) < count_B[:, None]
