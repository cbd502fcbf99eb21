"""config.json of Qwen3-ASR: the model's shape out of it, and itself in either naming.

Source: the published checkpoints `Qwen/Qwen3-ASR-*` (original) and `Qwen/Qwen3-ASR-*-hf` (native,
`Qwen3ASRForConditionalGeneration` of transformers).
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from maxtext_ext.checkpoint import config_schema, dense_lm
from maxtext_ext.files import foreign_json
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY
from maxtext_ext.text.languages import LANGUAGES

ORIGINAL, NATIVE = "original", "native"

# Token ids that the published config.json files give.
END_OF_TEXT, IM_END = 151643, 151645
AUDIO_START, AUDIO_END, AUDIO_PAD = 151669, 151670, 151676

_PROCESSOR = "Qwen3ASRProcessor"

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
# Keys of the original's sections that transformers' native model does not know.
_ORIGINAL_ONLY = {
  *("max_source_positions", "conv_chunksize", "rope_scaling", "torch_dtype", "dtype"),
  *("classify_num", "decoder_sparse_step", "moe_intermediate_size", "num_experts"),
  *("num_experts_per_tok", "norm_topk_prob", "output_router_logits", "router_aux_loss_coef"),
  "mlp_only_layers",
}


def parts(hf_config: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
  """audio_config and text_config of a config.json, nested (original) or not (native)."""
  inside = hf_config.get("thinker_config", hf_config)
  return inside["audio_config"], inside["text_config"]


def is_tied(hf_config: Mapping[str, Any]) -> bool:
  """Returns whether config.json says that the output head is the embedding."""
  inside = hf_config.get("thinker_config", hf_config)
  places = [hf_config, inside["text_config"]]
  if "thinker_config" in hf_config:
    places = [inside["text_config"], inside, hf_config]
  # The first that says it is the one that its code reads.
  return first_said("tie_word_embeddings", places, default=True)


def first_said(key: str, places: Sequence[Mapping[str, Any]], *, default: bool) -> bool:
  """The first value of a key that is not null."""
  return next((place[key] for place in places if place.get(key) is not None), default)


def speech_keys(audio: config_schema.Audio, text: config_schema.AnyText) -> dict[str, Any]:
  """Keys of SpeechConfig that every Qwen3 decoder with this audio tower shares."""
  return {
    **dense_lm.text_keys(text),
    "use_qk_norm": True,
    "speech_encoder": "qwen3_audio",
    **{ours: getattr(audio, theirs) for theirs, ours in AUDIO_KEYS.items()},
  }


def model_keys(hf_config: Mapping[str, Any], source: str = "config.json") -> dict[str, Any]:
  """The keys of model.yml.

  Args:
    hf_config: config.json.
    source: the file, for messages.

  Raises:
    ValueError: config.json lacks a key, or asks for what we have not.
  """
  of_original = "thinker_config" in hf_config
  schema = config_schema.AsrOriginal if of_original else config_schema.AsrNative
  checked = foreign_json.check(schema, dict(hf_config), source)
  inside = getattr(checked, "thinker_config", checked)
  return {
    **speech_keys(inside.audio_config, inside.text_config),
    "base_mlp_dim": inside.text_config.intermediate_size,
    "decoder_block": "qwen3",
    "logits_via_embedding": is_tied(hf_config),
  }


def hf_config(source: Mapping[str, Any], naming: str, tied: bool) -> dict[str, Any]:
  """config.json of a converted model, for the names that its tensors get.

  Args:
    source: the config.json that the model came with, of either naming.
    tied: whether the output head is the embedding.
  """
  result = copy.deepcopy(dict(source))
  of_original = "thinker_config" in result
  if of_original != (naming == ORIGINAL):
    result = _to_native(result) if of_original else _to_original(result)
  if tied != is_tied(result):
    inside = result.get("thinker_config", result)
    for place in (inside["text_config"], inside, result):
      if "tie_word_embeddings" in place or place is inside["text_config"]:
        place["tie_word_embeddings"] = tied
  return result


def _to_native(source: dict[str, Any]) -> dict[str, Any]:
  """Converts names as `convert_qwen3_asr_to_hf.py` of transformers does."""
  tied, thinker = is_tied(source), source["thinker_config"]
  audio, text = (
    {k: v for k, v in part.items() if k not in _ORIGINAL_ONLY} for part in parts(source)
  )
  positions = GEOMETRY.tokens_per_chunk
  audio |= {"model_type": "qwen3_asr_encoder", "max_position_embeddings": positions}
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
  for ours, name in config_schema.Audio.ALIASES.items():
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


def processor_files(files: Mapping[str, Any], naming: str) -> dict[str, Any]:
  """The processor's configuration in the file, and for the classes, of the other naming.

  With the original's file the native processor would take Whisper's feature extractor, which pads
  clips to 30 s.

  Args:
    files: contents of preprocessor_config.json or processor_config.json.
    naming: of the result.
  """
  if naming == NATIVE and "preprocessor_config.json" in files:
    extractor = dict(files["preprocessor_config.json"])
    name = extractor.pop("processor_class", _PROCESSOR)
    extractor["feature_extractor_type"] = "Qwen3ASRFeatureExtractor"
    return {"processor_config.json": {"feature_extractor": extractor, "processor_class": name}}
  if naming == ORIGINAL and "processor_config.json" in files:
    processor = files["processor_config.json"]
    extractor = {
      key: value
      for key, value in foreign_json.expect_object(
        processor.get("feature_extractor", {}), "processor_config.json, feature_extractor"
      ).items()
      if key not in ("n_window", "min_length")
    }
    extractor["feature_extractor_type"] = "WhisperFeatureExtractor"
    extractor["processor_class"] = processor.get("processor_class", _PROCESSOR)
    return {"preprocessor_config.json": extractor}
  return dict(files)
