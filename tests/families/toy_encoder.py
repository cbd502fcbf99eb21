"""A speech encoder in one file: means of the log-mel, and one linear layer.

With `ENCODERS["toy"] = ToyEncoder` and a yml that says `speech_encoder: toy` it is complete. Its
chunks, tokens and windows differ from Qwen3-ASR's in every figure.
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int
from pydantic import Field

from maxtext_ext.audio.geometry import Geometry
from maxtext_ext.models.encoders.base import EncoderConfig
from maxtext_ext.models.layers import linear

POOLED = 10  # frames whose mean becomes a token


class ToyConfig(EncoderConfig):
  """Shape of a ToyEncoder."""

  width: int = Field(ge=1)

  @property
  def geometry(self) -> Geometry:
    """Chunks of 0.5 s and 5 tokens, windows of 3 s, each of one clip alone."""
    return Geometry(
      frames_per_chunk=50,
      halvings=1,
      stack=POOLED // 2,
      chunks_per_window=6,
      tails_share_windows=False,
      min_samples=1_600,
    )

  @property
  def out_dim(self) -> int:
    """Width of the tokens."""
    return self.width

  def flops_per_window(self) -> float:
    """FLOPs of the linear layer."""
    return 2.0 * self.geometry.tokens_per_window * self.num_mel_bins * self.width


class ToyEncoder(nnx.Module):
  """Means of POOLED frames, projected."""

  Config = ToyConfig

  def __init__(self, config: ToyConfig, *, rngs: nnx.Rngs) -> None:
    self.config = config
    self.project = linear(
      config.num_mel_bins,
      config.width,
      ("mlp", "embed"),
      dtype=config.dtype,
      weight_dtype=config.weight_dtype,
      rngs=rngs,
    )

  def __call__(
    self,
    mel_BWCFM: Float[Array, "B W C F M"],
    chunk_frames_BWC: Int[Array, "B W C"],
    chunk_segment_BWC: Int[Array, "B W C"],
  ) -> Float[Array, "B W A D"]:
    """Encodes every POOLED frames alone; log-mel is 0 beyond the real ones."""
    del chunk_frames_BWC, chunk_segment_BWC
    rows, windows, chunks, frames, mels = mel_BWCFM.shape
    tokens = chunks * frames // POOLED
    means_BWAM = jnp.mean(mel_BWCFM.reshape(rows, windows, tokens, POOLED, mels), axis=3)
    return self.project(means_BWAM)
