"""Qwen3-ASR checkpoints: names, axes and shape, as published and as transformers saves them.

Source: the published checkpoints `Qwen/Qwen3-ASR-*` (original) and `Qwen/Qwen3-ASR-*-hf` (native,
`Qwen3ASRForConditionalGeneration` of transformers).
"""

import copy
import math
from collections.abc import Mapping
from typing import Any

from maxtext_ext.audio.frames import TOKENS_PER_CHUNK
from maxtext_ext.checkpoint.keymap import Family, Rule
from maxtext_ext.text.languages import LANGUAGES

ORIGINAL, NATIVE = "original", "native"

# Token ids that the published config.json files give.
END_OF_TEXT, IM_END = 151643, 151645
AUDIO_START, AUDIO_END, AUDIO_PAD = 151669, 151670, 151676

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

# Keys of config.json's audio_config, and ours.
AUDIO_KEYS = {
  "num_mel_bins": "num_mel_bins_for_audio",
  "d_model": "d_model_for_audio",
  "encoder_layers": "encoder_layers_for_audio",
  "encoder_attention_heads": "encoder_attention_heads_for_audio",
  "encoder_ffn_dim": "encoder_ffn_dim_for_audio",
  "downsample_hidden_size": "downsample_hidden_size_for_audio",
  "output_dim": "output_dim_for_audio",
}
# Other names for some of them, which transformers understands.
AUDIO_ALIASES = {
  "d_model": "hidden_size",
  "encoder_layers": "num_hidden_layers",
  "encoder_attention_heads": "num_attention_heads",
  "encoder_ffn_dim": "intermediate_size",
}
# Keys of its text_config, and ours.
TEXT_KEYS = {
  "hidden_size": "base_emb_dim",
  "intermediate_size": "base_mlp_dim",
  "num_hidden_layers": "base_num_decoder_layers",
  "num_attention_heads": "base_num_query_heads",
  "num_key_value_heads": "base_num_kv_heads",
  "head_dim": "head_dim",
  "vocab_size": "vocab_size",
  "rms_norm_eps": "normalization_layer_epsilon",
}
# What our encoder and decoder are built for: another value would give other numbers.
_FIXED_AUDIO = {
  "n_window": 50,
  "n_window_infer": 800,
  "activation_function": "gelu",
  "scale_embedding": False,
}
# Keys of the original's sections that transformers' native model does not know.
_ORIGINAL_ONLY = {
  *("max_source_positions", "conv_chunksize", "rope_scaling", "torch_dtype", "dtype"),
  *("classify_num", "decoder_sparse_step", "moe_intermediate_size", "num_experts"),
  *("num_experts_per_tok", "norm_topk_prob", "output_router_logits", "router_aux_loss_coef"),
  "mlp_only_layers",
}
_FIXED_TEXT = {"hidden_act": "silu", "attention_bias": False, "use_sliding_window": False}


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


def attention_rules(text: str) -> list[Rule]:
  """Embedding, attention and norms of a Qwen3 decoder, whatever its feed-forward."""
  hf, ours = f"{text}.layers.{{layer}}", "decoder/layers"
  attention = f"{ours}/self_attention"
  into = {"q": ("query", "head"), "k": ("key", "kv_head"), "v": ("value", "kv_head")}
  rules = [
    Rule(
      hf=f"{text}.embed_tokens.weight",
      ours="token_embedder/embedding",
      layout="vocab hidden -> vocab hidden",
    ),
    Rule(hf=f"{text}.norm.weight", ours="decoder/decoder_norm/scale", layout="hidden -> hidden"),
    Rule(
      hf=f"{hf}.self_attn.o_proj.weight",
      ours=f"{attention}/out/kernel",
      layout="hidden (head size) -> head layer size hidden",
    ),
  ]
  for letter, (name, heads) in into.items():
    rules.append(
      Rule(
        hf=f"{hf}.self_attn.{letter}_proj.weight",
        ours=f"{attention}/{name}/kernel",
        layout=f"({heads} size) hidden -> hidden layer {heads} size",
      )
    )
  norms = {
    "self_attn.q_norm": ("self_attention/query_norm", "size"),
    "self_attn.k_norm": ("self_attention/key_norm", "size"),
    "input_layernorm": ("pre_self_attention_layer_norm", "hidden"),
    "post_attention_layernorm": ("post_self_attention_layer_norm", "hidden"),
  }
  for name, (path, axis) in norms.items():
    rules.append(
      Rule(hf=f"{hf}.{name}.weight", ours=f"{ours}/{path}/scale", layout=f"{axis} -> {axis} layer")
    )
  return rules


def mlp_rules(text: str) -> list[Rule]:
  """The dense feed-forward of a Qwen3 decoder."""
  names = {"gate_proj": "wi_0", "up_proj": "wi_1", "down_proj": "wo"}
  return [
    Rule(
      hf=f"{text}.layers.{{layer}}.mlp.{name}.weight",
      ours=f"decoder/layers/mlp/{ours}/kernel",
      layout="hidden mlp -> mlp layer hidden" if ours == "wo" else "mlp hidden -> hidden layer mlp",
    )
    for name, ours in names.items()
  ]


def head_rule(head: str) -> Rule:
  """An output head of its own."""
  return Rule(
    hf=f"{head}.weight",
    ours="decoder/logits_dense/kernel",
    layout="vocab hidden -> hidden vocab",
  )


def rules(naming: str, tied: bool) -> list[Rule]:
  """Every tensor of the model, the decoder's layers stacked."""
  prefix = _PREFIXES[naming]
  found = audio_rules(prefix["audio"], prefix["linear_1"], prefix["linear_2"])
  found += attention_rules(prefix["text"]) + mlp_rules(prefix["text"])
  return found if tied else [*found, head_rule(prefix["head"])]


def sizes(model: Mapping[str, Any]) -> dict[str, int]:
  """Sizes of the axes that the rules name, from the keys of SpeechConfig."""
  width, channels = model["d_model_for_audio"], model["downsample_hidden_size_for_audio"]
  hidden = model["base_emb_dim"]
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
    "hidden": hidden,
    "mlp": model["base_mlp_dim"],
    "layer": model["base_num_decoder_layers"],
    "head": model["base_num_query_heads"],
    "kv_head": model["base_num_kv_heads"],
    "size": model["head_dim"],
    "vocab": model["vocab_size"],
  }


def parts(hf_config: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
  """audio_config and text_config of a config.json, nested (original) or not (native).

  Raises:
    ValueError: there are none.
  """
  inside = hf_config.get("thinker_config", hf_config)
  missing = [key for key in ("audio_config", "text_config") if key not in inside]
  if missing:
    raise ValueError(
      f"config.json has no {' and no '.join(missing)}, at its top or in its thinker_config"
    )
  return inside["audio_config"], inside["text_config"]


def is_tied(hf_config: Mapping[str, Any]) -> bool:
  """Whether config.json says that the output head is the embedding."""
  inside = hf_config.get("thinker_config", hf_config)
  places = [hf_config, inside["text_config"]]
  if "thinker_config" in hf_config:
    places = [inside["text_config"], inside, hf_config]
  for place in places:  # the first that says it is the one that its code reads
    if "tie_word_embeddings" in place:
      return bool(place["tie_word_embeddings"])
  return True


def require(section: str, given: Mapping[str, Any], fixed: Mapping[str, Any]) -> None:
  """Raises ValueError for a value that would need another model."""
  for key, value in fixed.items():
    if given.get(key, value) != value:
      raise ValueError(
        f"config.json, {section}.{key}: got {given[key]!r}, this model is built for {value!r} only"
      )


def speech_keys(audio: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Any]:
  """Keys of SpeechConfig that every Qwen3 decoder with this audio tower shares."""
  audio = {**{ours: audio[name] for ours, name in AUDIO_ALIASES.items() if name in audio}, **audio}
  require("audio_config", audio, _FIXED_AUDIO)
  require("text_config", text, _FIXED_TEXT)
  if audio["output_dim"] != text["hidden_size"]:
    raise ValueError(
      f"config.json: audio_config.output_dim={audio['output_dim']} and"
      f" text_config.hidden_size={text['hidden_size']} must be equal"
    )
  rope = {**text, **(text.get("rope_scaling") or {}), **(text.get("rope_parameters") or {})}
  if rope.get("rope_type", "default") != "default":
    raise ValueError(f"config.json: rope_type={rope['rope_type']!r}, only 'default' is known")
  return {
    **{ours: text[theirs] for theirs, ours in TEXT_KEYS.items()},
    "rope_max_timescale": int(rope["rope_theta"]),
    "use_qk_norm": True,
    "mlp_activations": ["silu", "linear"],
    "normalize_embedding_logits": False,
    "speech_encoder": "qwen3_audio",
    **{ours: audio[theirs] for theirs, ours in AUDIO_KEYS.items()},
  }


def model_keys(hf_config: Mapping[str, Any]) -> dict[str, Any]:
  """The keys of model.yml.

  Args:
    hf_config: config.json.

  Raises:
    ValueError: config.json lacks a key, or asks for what we have not.
  """
  audio, text = parts(hf_config)
  try:
    keys = speech_keys(audio, text)
  except KeyError as error:
    raise ValueError(f"config.json lacks the key {error} of the model's shape") from error
  return {**keys, "decoder_block": "qwen3", "logits_via_embedding": is_tied(hf_config)}


def hf_config(source: Mapping[str, Any], naming: str, tied: bool) -> dict[str, Any]:
  """config.json of a converted model, for the names that its tensors get.

  Args:
    source: the config.json that the model came with, of either naming.
    tied: whether the output head is the embedding.
  """
  source = copy.deepcopy(dict(source))
  of_original = "thinker_config" in source
  if of_original != (naming == ORIGINAL):
    source = _to_native(source) if of_original else _to_original(source)
  if tied != is_tied(source):
    inside = source.get("thinker_config", source)
    for place in (inside["text_config"], inside, source):
      if "tie_word_embeddings" in place or place is inside["text_config"]:
        place["tie_word_embeddings"] = tied
  return source


def _to_native(source: dict[str, Any]) -> dict[str, Any]:
  """As `convert_qwen3_asr_to_hf.py` of transformers has it."""
  tied, thinker = is_tied(source), source["thinker_config"]
  audio, text = (
    {k: v for k, v in part.items() if k not in _ORIGINAL_ONLY} for part in parts(source)
  )
  audio |= {"model_type": "qwen3_asr_encoder", "max_position_embeddings": TOKENS_PER_CHUNK}
  theta = text.pop("rope_theta", None) or text["rope_parameters"]["rope_theta"]
  text |= {
    "model_type": "qwen3",
    "rope_parameters": {"rope_type": "default", "rope_theta": theta},
    "tie_word_embeddings": tied,
  }
  top = {k: v for k, v in source.items() if k not in ("thinker_config", "support_languages")}
  inside = {k: v for k, v in thinker.items() if k in ("audio_token_id", "initializer_range")}
  if "dtype" in thinker:
    top.setdefault("dtype", thinker["dtype"])
  defaults = {"pad_token_id": IM_END, "eos_token_id": [END_OF_TEXT, IM_END]}
  shape = {"audio_config": audio, "text_config": text, "tie_word_embeddings": tied}
  return {**defaults, **top, **inside, **shape}


def _to_original(source: dict[str, Any]) -> dict[str, Any]:
  tied = is_tied(source)
  audio, text = (dict(part) for part in parts(source))
  for ours, name in AUDIO_ALIASES.items():
    if name in audio:
      audio.setdefault(ours, audio.pop(name))
  audio.pop("max_position_embeddings", None)
  audio |= {
    "model_type": "qwen3_asr_audio_encoder",
    "max_source_positions": 1500,
    "conv_chunksize": 500,
  }
  rope = text.pop("rope_parameters", {})
  text.pop("layer_types", None)
  half = text["head_dim"] // 2  # three sections of it, 24, 20 and 20 of 64
  section = [half - 2 * (half * 20 // 64), half * 20 // 64, half * 20 // 64]
  text |= {
    "model_type": "qwen3_asr_text",
    "rope_theta": text.get("rope_theta") or rope["rope_theta"],
    "rope_scaling": {
      "interleaved": True,
      "mrope_interleaved": True,
      "mrope_section": section,
      "rope_type": "default",
      "type": "default",
    },
    "tie_word_embeddings": tied,
  }
  thinker = {
    "model_type": "qwen3_asr_thinker",
    "audio_token_id": source.get("audio_token_id", AUDIO_PAD),
    "audio_start_token_id": source.get("audio_start_token_id", AUDIO_START),
    "audio_end_token_id": source.get("audio_end_token_id", AUDIO_END),
    "initializer_range": source.get("initializer_range", 0.02),
    "dtype": source.get("dtype", "bfloat16"),
    "audio_config": audio,
    "text_config": text,
  }
  top = {
    k: v for k, v in source.items() if k in ("architectures", "model_type", "transformers_version")
  }
  return {**top, "support_languages": list(LANGUAGES), "thinker_config": thinker}


FAMILY = Family(
  name="qwen3_asr",
  model_types=("qwen3_asr",),
  namings=(ORIGINAL, NATIVE),
  skip=(),
  model_keys=model_keys,
  sizes=sizes,
  rules=rules,
  hf_config=hf_config,
)
