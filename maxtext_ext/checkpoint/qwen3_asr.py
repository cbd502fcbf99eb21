"""Qwen3-ASR checkpoints: names and axes of their tensors, published and native."""

import math
from collections.abc import Mapping
from typing import Any

from maxtext_ext.checkpoint import dense_lm
from maxtext_ext.checkpoint.keymap import Family, Rule
from maxtext_ext.checkpoint.qwen3_asr_config import (
  NATIVE,
  ORIGINAL,
  hf_config,
  model_keys,
  processor_files,
)

# Where the parts of the model lie.
_PREFIXES = {
  ORIGINAL: {
    "audio": "thinker.audio_tower",
    "linear_1": "thinker.audio_tower.proj1",
    "linear_2": "thinker.audio_tower.proj2",
    "text": "thinker.model",
    "head": "thinker.lm_head",
  },
  NATIVE: {
    "audio": "model.audio_tower",
    "linear_1": "model.multi_modal_projector.linear_1",
    "linear_2": "model.multi_modal_projector.linear_2",
    "text": "model.language_model",
    "head": "lm_head",
  },
}


def linear(hf: str, ours: str, out: str, into: str, *, stack: str = "") -> list[Rule]:
  """Weight [out, in] and bias of torch's Linear as kernel [in, out] and bias."""
  return [
    Rule(hf=f"{hf}.weight", ours=f"{ours}/kernel", layout=f"{out} {into} -> {stack} {into} {out}"),
    Rule(hf=f"{hf}.bias", ours=f"{ours}/bias", layout=f"{out} -> {stack} {out}"),
  ]


def layer_norm(hf: str, ours: str, *, stack: str = "") -> list[Rule]:
  """Weight and bias of torch's LayerNorm over the audio width."""
  layout = f"width -> {stack} width"
  return [
    Rule(hf=f"{hf}.weight", ours=f"{ours}/scale", layout=layout),
    Rule(hf=f"{hf}.bias", ours=f"{ours}/bias", layout=layout),
  ]


def audio_rules(audio: str, linear_1: str, linear_2: str) -> list[Rule]:
  """The audio tower, and the projector, of which the names differ more."""
  rules = []
  for i, into in ((1, "one"), (2, "channel_in"), (3, "channel_in")):
    ours = f"speech_encoder/conv2d{i}"
    layout = f"channel {into} mel frame -> mel frame {into} channel"
    rules += [
      Rule(hf=f"{audio}.conv2d{i}.weight", ours=f"{ours}/kernel", layout=layout),
      Rule(hf=f"{audio}.conv2d{i}.bias", ours=f"{ours}/bias", layout="channel -> channel"),
    ]
  conv_out = linear(f"{audio}.conv_out", "speech_encoder/conv_out", "width", "feature")
  rules += conv_out[:1]  # it has no bias
  hf, ours, stack = f"{audio}.layers.{{block}}", "speech_encoder/layers", "block"
  for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
    inner = (f"{hf}.self_attn.{name}", f"{ours}/self_attn/{name}")
    rules += linear(*inner, "width", "width_in", stack=stack)
  rules += linear(f"{hf}.fc1", f"{ours}/fc1", "ffn", "width", stack=stack)
  rules += linear(f"{hf}.fc2", f"{ours}/fc2", "width", "ffn", stack=stack)
  for name in ("self_attn_layer_norm", "final_layer_norm"):
    rules += layer_norm(f"{hf}.{name}", f"{ours}/{name}", stack=stack)
  rules += layer_norm(f"{audio}.ln_post", "speech_encoder/ln_post")
  rules += linear(linear_1, "projector/linear_1", "width", "width_in")
  rules += linear(linear_2, "projector/linear_2", "hidden", "width")
  return rules


def tied_head(naming: str) -> Rule:
  """The head where it is stored though it is the embedding, as the published checkpoints do."""
  return dense_lm.tied_head_rule(_PREFIXES[naming]["head"])


def rules(naming: str, tied: bool, model: Mapping[str, Any] | None = None) -> list[Rule]:
  """Returns rules for every tensor of the model, the decoder's layers stacked.

  Args:
    model: its keys, on which no name depends.
  """
  del model
  prefix = _PREFIXES[naming]
  found = audio_rules(prefix["audio"], prefix["linear_1"], prefix["linear_2"])
  found += dense_lm.attention_rules(prefix["text"]) + dense_lm.mlp_rules(prefix["text"])
  return found if tied else [*found, dense_lm.head_rule(prefix["head"])]


def sizes(model: Mapping[str, Any]) -> dict[str, int]:
  """Sizes of the axes that the rules name, from the keys of SpeechConfig."""
  width, channels = model["d_model_for_audio"], model["downsample_hidden_size_for_audio"]
  return {
    "one": 1,
    "mel": 3,  # of a convolution's kernel
    "frame": 3,
    "channel": channels,
    "channel_in": channels,
    "feature": channels * math.ceil(model["num_mel_bins_for_audio"] / 8),
    "width": width,
    "width_in": width,
    "ffn": model["encoder_ffn_dim_for_audio"],
    "block": model["encoder_layers_for_audio"],
    **dense_lm.sizes(model),
  }


FAMILY = Family(
  name="qwen3_asr",
  model_types=("qwen3_asr",),
  namings=(ORIGINAL, NATIVE),
  skip=(),
  model_keys=model_keys,
  sizes=sizes,
  rules=rules,
  hf_config=hf_config,
  tied_head=tied_head,
  processor_files=processor_files,
)
