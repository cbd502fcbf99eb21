"""Whisper's encoder in a checkpoint: its shape from config.json, names and axes of its tensors.

Source: the published checkpoints `openai/whisper-*`, and `WhisperConfig` of transformers 4 and 5.
"""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from maxtext_ext.checkpoint import config_schema
from maxtext_ext.checkpoint.keymap import Rule
from maxtext_ext.checkpoint.qwen3_asr import layer_norm, linear
from maxtext_ext.files import foreign_json
from maxtext_ext.files.foreign_json import shown
from maxtext_ext.models.encoders.whisper import KERNEL, POSITIONS, WhisperConfig

MODEL_TYPE = "whisper"
PREFIX = "model.encoder"
# The decoder, and the head where it is stored though it is the decoder's embedding.
SKIP = (r"model\.decoder\..*", r"proj_out\.weight")

_Width = Annotated[int, Field(ge=1, le=2**20)]


class _Settings(foreign_json.Settings):
  """Settings of config.json for the encoder."""

  # Of the decoder, of training, and of generation. `scale_embedding` is the decoder's alone.
  NEUTRAL: ClassVar[frozenset[str]] = config_schema.AnyText.NEUTRAL | {
    *("alignment_heads", "forced_decoder_ids", "lang_ids", "lang_to_id", "median_filter_width"),
    *("decoder_attention_heads", "decoder_ffn_dim", "decoder_layerdrop", "decoder_layers"),
    *("max_target_positions", "num_hidden_layers", "output_dim", "scale_embedding"),
    *("encoder_layerdrop", "init_std", "apply_spec_augment", "mask_feature_length"),
    *("mask_feature_min_masks", "mask_feature_prob", "mask_time_length", "mask_time_min_masks"),
    *("mask_time_prob", "classifier_proj_size", "use_weighted_layer_sum"),
    *("add_cross_attention", "is_decoder", "is_encoder_decoder", "tie_encoder_decoder"),
    *("tie_word_embeddings", "vocab_size"),
  }

  model_type: Literal["whisper"]
  num_mel_bins: Annotated[int, Field(ge=1, le=1024)]
  d_model: _Width
  encoder_layers: Annotated[int, Field(ge=1, le=1000)]
  encoder_attention_heads: _Width
  encoder_ffn_dim: _Width
  max_source_positions: Annotated[int, Field(ge=1, le=2**20)] = POSITIONS
  activation_function: Literal["gelu"] = "gelu"
  pruned_heads: Annotated[dict[str, Any], Field(max_length=0)] | None = None


def encoder_keys(
  hf_config: Mapping[str, Any], source: str = "config.json", *, stack: int = 1
) -> dict[str, Any]:
  """Returns the keys of SpeechConfig for the encoder.

  Args:
    hf_config: config.json.
    source: the file, for messages.
    stack: positions that become one audio token.

  Raises:
    ValueError: config.json lacks a key, or asks for another encoder than ours.
  """
  kind = hf_config.get("model_type")
  if kind != MODEL_TYPE:
    raise ValueError(f"{source}: model_type {shown(kind)}, expected {MODEL_TYPE}")
  checked = foreign_json.check(_Settings, dict(hf_config), source)
  shape = {
    "num_mel_bins": checked.num_mel_bins,
    "d_model": checked.d_model,
    "layers": checked.encoder_layers,
    "heads": checked.encoder_attention_heads,
    "ffn_dim": checked.encoder_ffn_dim,
    "stack": stack,
    "positions": checked.max_source_positions,
  }
  try:
    WhisperConfig.checked(shape)
  except ValueError as error:
    raise ValueError(f"{source}: {error}") from error
  return {"speech_encoder": "whisper", "encoder": shape}


def encoder_sizes(model: Mapping[str, Any]) -> dict[str, int]:
  """Sizes of the axes that `encoder_rules` name, from the keys of SpeechConfig."""
  shape = model["encoder"]
  return {
    "mel": shape["num_mel_bins"],
    "frame": KERNEL,
    "position": shape["positions"],
    "width": shape["d_model"],
    "width_in": shape["d_model"],
    "ffn": shape["ffn_dim"],
    "block": shape["layers"],
  }


def encoder_rules(prefix: str = PREFIX, *, source: str = "encoder") -> list[Rule]:
  """Returns rules for every tensor of the encoder, its layers stacked.

  Args:
    prefix: of the names in the checkpoint.
    source: key of `Family.sources`.
  """
  rules = []
  for name, into in (("conv1", "mel"), ("conv2", "width_in")):
    hf, ours = f"{prefix}.{name}", f"speech_encoder/{name}"
    layout = f"width {into} frame -> frame {into} width"
    rules += [
      Rule(hf=f"{hf}.weight", ours=f"{ours}/kernel", layout=layout),
      Rule(hf=f"{hf}.bias", ours=f"{ours}/bias", layout="width -> width"),
    ]
  rules.append(
    Rule(
      hf=f"{prefix}.embed_positions.weight",
      ours="speech_encoder/embed_positions",
      layout="position width -> position width",
    )
  )
  hf, ours, stack = f"{prefix}.layers.{{block}}", "speech_encoder/layers", "block"
  for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
    projection = linear(
      f"{hf}.self_attn.{name}", f"{ours}/self_attn/{name}", "width", "width_in", stack=stack
    )
    rules += projection[:1] if name == "k_proj" else projection  # keys have no bias
  rules += linear(f"{hf}.fc1", f"{ours}/fc1", "ffn", "width", stack=stack)
  rules += linear(f"{hf}.fc2", f"{ours}/fc2", "width", "ffn", stack=stack)
  for name in ("self_attn_layer_norm", "final_layer_norm"):
    rules += layer_norm(f"{hf}.{name}", f"{ours}/{name}", stack=stack)
  rules += layer_norm(f"{prefix}.layer_norm", "speech_encoder/layer_norm")
  return [dataclasses.replace(rule, source=source) for rule in rules]
