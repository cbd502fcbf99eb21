"""Published speeds of MaxText runs on TPUs, which calibrate the estimates.

Source: MaxText's MaxText/configs/{v4,v5e}/README.md and the scripts beside them (commits 281e04bf3
of April 2023 and 76bd53b0f of December 2023). All are text only, one slice, every weight trained
and divided over all chips (fsdp), as a plan divides them unless told otherwise. Those on v5p, which
divide by tensor too and keep more activations, are left out.
"""

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class PublishedRun:
  """A run and its speed.

  Attributes:
    name: in tables, and of its counted cost.
    gated: a feed-forward layer of three matrices instead of two.
    rows: a chip.
    rate: FLOP/s of the model a chip, as published.
    attention_counted: in that rate, every pair of positions. MaxText's figures have it since June
      2023 (commit 0e650131c).
    attention: that was used.
  """

  name: str
  topology: str
  emb: int
  mlp: int
  layers: int
  heads: int
  head_dim: int
  gated: bool
  rows: int
  rate: float
  attention_counted: bool
  attention: Literal["dot_product", "flash"]

  @property
  def weights(self) -> int:
    """Number of parameters."""
    attention = 4 * self.emb * self.head_dim * self.heads
    feed_forward = (3 if self.gated else 2) * self.emb * self.mlp
    return self.layers * (attention + feed_forward) + VOCABULARY * self.emb

  @property
  def seconds(self) -> float:
    """Measured seconds of a step."""
    flops = 6 * self.weights
    if self.attention_counted:
      flops += 12 * self.layers * self.heads * self.head_dim * TOKENS
    return flops * self.rows * TOKENS / self.rate

  @property
  def overrides(self) -> list[str]:
    """Keys that make the planner's step this one; one window of a tiny encoder remains."""
    activations = "[silu,linear]" if self.gated else "[relu]"
    return [
      "model_name=qwen3-asr-tiny",
      "windows_per_row=1",
      f"d_model_for_audio={_ENCODER_WIDTH}",
      f"encoder_ffn_dim_for_audio={_ENCODER_WIDTH}",
      "decoder_block=llama2",
      "use_qk_norm=false",
      f"base_emb_dim={self.emb}",
      f"base_mlp_dim={self.mlp}",
      f"base_num_decoder_layers={self.layers}",
      f"base_num_query_heads={self.heads}",
      f"base_num_kv_heads={self.heads}",
      f"head_dim={self.head_dim}",
      f"mlp_activations={activations}",
      f"vocab_size={VOCABULARY}",
      "num_vocab_tiling=1",
      f"max_target_length={TOKENS}",
      f"per_device_batch_size={self.rows}",
      f"attention={self.attention}",
      "remat_policy=full",
    ]


TOKENS = 2048  # of a row
VOCABULARY = 32_768
_ENCODER_WIDTH = 768  # of what remains of it: divides among 192 chips and among 256


RUNS = (
  PublishedRun(
    name="22B on v4-128",
    topology="v4-128",
    emb=6144,
    mlp=24_576,
    layers=48,
    heads=24,
    head_dim=256,
    gated=False,
    rows=13,
    rate=156e12,
    attention_counted=False,
    attention="dot_product",
  ),
  PublishedRun(
    name="52B on v4-384",
    topology="v4-384",
    emb=12_288,
    mlp=49_152,
    layers=32,
    heads=32,
    head_dim=256,
    gated=False,
    rows=7,
    rate=154e12,
    attention_counted=False,
    attention="dot_product",
  ),
  PublishedRun(
    name="16B on v5e-256",
    topology="v5e-256",
    emb=4096,
    mlp=28_672,
    layers=32,
    heads=64,
    head_dim=128,
    gated=True,
    rows=6,
    rate=120e12,
    attention_counted=True,
    attention="flash",
  ),
  PublishedRun(
    name="32B on v5e-256",
    topology="v5e-256",
    emb=8192,
    mlp=28_672,
    layers=32,
    heads=64,
    head_dim=128,
    gated=True,
    rows=4,
    rate=132e12,
    attention_counted=True,
    attention="flash",
  ),
)

# The keys of the first run with the defaults that MaxText has today: another model, of 25B.
TODAY = replace(
  RUNS[0], name="22B's keys, today's defaults", head_dim=128, gated=True, attention="flash"
)
