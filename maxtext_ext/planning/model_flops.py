"""Model FLOPs: the work that model FLOP utilisation counts.

Matrix products only, two FLOPs a multiplication. Forward once, the gradient of activations once
where something at or before a layer trains, the gradient of weights once where they train; nothing
for recomputation, empty slots or positions without a target. Attention among the tokens of one clip
in the decoder is left out: a few hundred tokens, 1 or 2% of a layer.
"""

from dataclasses import dataclass
from typing import Any

from maxtext_ext.models.encoders import encoder_config
from maxtext_ext.models.lora import TARGETS
from maxtext_ext.models.parts import ADAPTERS, trains
from maxtext_ext.models.projector import ProjectorConfig, find_projector

# Of the slots of a packed batch: the packing's own promise. And of the text slots, how many are
# targets: what is neither audio nor prompt.
SLOTS_FILLED = 0.95
TARGET_TILES = 4  # one in so many


@dataclass(frozen=True, kw_only=True)
class Passes:
  """Passes over the matrix products of each part: 1 forward, 2 with gradients of activations, 3."""

  encoder: int
  decoder: int
  head: int


def passes(config: Any) -> Passes:
  """Counts the passes that the trained parts of a configuration need."""
  in_tower = trains(ADAPTERS, config) and _adapts(config.lora_targets, ("speech_encoder",))
  encoder = 3 if trains("encoder", config) else (2 if in_tower else 1)
  # Whatever trains before or in the decoder needs the gradient through it.
  decoder = 3 if trains("lm", config) else 2
  return Passes(encoder=encoder, decoder=decoder, head=decoder)


def _adapts(targets: list[str], roots: tuple[str, ...]) -> bool:
  regexes = [TARGETS.get(target, target) for target in targets]
  return any(regex.startswith(roots) for regex in regexes)


def encoder_flops_per_window(config: Any) -> float:
  """Counts a forward pass of one window through the encoder and the projector."""
  encoder = encoder_config(config)
  shape = ProjectorConfig.from_keys(config, encoder.out_dim)
  projector = find_projector(config.projector).flops_per_token(shape)
  return encoder.flops_per_window() + encoder.geometry.tokens_per_window * projector


def _ctc_flops_per_row(config: Any, times: Passes) -> float:
  encoder, windows = encoder_config(config), config.windows_per_row
  tokens = windows * encoder.geometry.tokens_per_window
  head = 2 * tokens * encoder.out_dim * config.vocab_size
  head_passes = 1 + (times.encoder > 1) + trains("head", config)
  return encoder.flops_per_row(windows) * times.encoder + head * head_passes


def decoder_flops_per_token(config: Any) -> int:
  """Counts a forward pass of one token through all layers, without the head."""
  dim, head = config.emb_dim, config.head_dim
  heads = 2 * config.num_query_heads + 2 * config.num_kv_heads  # query and out, key and value
  if config.num_experts > 1:
    feed_forward = config.num_experts_per_tok * 3 * config.moe_mlp_dim + config.num_experts
  else:
    feed_forward = 3 * config.mlp_dim
  return 2 * config.num_decoder_layers * dim * (heads * head + feed_forward)


def model_flops(config: Any) -> float:
  """Counts one step on all chips."""
  rows, times = config.global_batch_size_to_load, passes(config)
  if not config.num_decoder_layers:
    return rows * SLOTS_FILLED * _ctc_flops_per_row(config, times)
  tokens = rows * config.max_target_length * SLOTS_FILLED
  windows = rows * config.windows_per_row * SLOTS_FILLED
  head = 2 * config.emb_dim * config.vocab_size / TARGET_TILES
  return (
    windows * encoder_flops_per_window(config) * times.encoder
    + tokens * decoder_flops_per_token(config) * times.decoder
    + tokens * head * times.head
  )
