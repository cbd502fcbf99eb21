"""The tiny Qwen3-ASR as a checkpoint on disk: config.json and tensors in both namings.

config.json has the sections of the published checkpoints, with the shape of `qwen3_asr`.
"""

import json
import pathlib

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from benchmarks.parity.references import qwen3_asr, reference
from benchmarks.parity.references.reference import VOCABULARY, Reference

# Copied as they are; what they say is not read here.
OTHER_FILES = {
  "generation_config.json": '{"eos_token_id": [500, 502], "do_sample": false}\n',
  "preprocessor_config.json": '{"feature_size": 128}\n',
  "chat_template.json": '{"chat_template": "{{ messages }}"}\n',
  "tokenizer_config.json": '{"tokenizer_class": "Qwen2Tokenizer"}\n',
  "vocab.json": '{"a": 0}\n',
  "merges.txt": "#version: 0.2\n",
}
_TO_ORIGINAL = {
  "model.language_model.": "thinker.model.",
  "model.multi_modal_projector.linear_": "thinker.audio_tower.proj",
  "model.audio_tower.": "thinker.audio_tower.",
  "lm_head.": "thinker.lm_head.",
}
_ORIGINALS = {original: native for native, original in reversed(_TO_ORIGINAL.items())}


def original_config(ref: Reference = qwen3_asr.REFERENCE, *, tied: bool = True) -> dict:
  """config.json as published."""
  return {
    "architectures": ["Qwen3ASRForConditionalGeneration"],
    "model_type": "qwen3_asr",
    "support_languages": ["Chinese", "English"],
    "thinker_config": {
      "audio_config": {
        **ref.audio,
        "activation_dropout": 0,
        "activation_function": "gelu",
        "attention_dropout": 0,
        "conv_chunksize": 500,
        "dropout": 0,
        "initializer_range": 0.02,
        "max_source_positions": 1500,
        "model_type": "qwen3_asr_audio_encoder",
        "n_window": 50,
        "n_window_infer": 800,
        "scale_embedding": False,
      },
      "audio_end_token_id": reference.AUDIO_END,
      "audio_start_token_id": reference.AUDIO_START,
      "audio_token_id": reference.AUDIO_PAD,
      "dtype": "bfloat16",
      "initializer_range": 0.02,
      "model_type": "qwen3_asr_thinker",
      "text_config": {
        "vocab_size": VOCABULARY,
        **ref.text,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "max_position_embeddings": 65536,
        "model_type": "qwen3_asr_text",
        "rms_norm_eps": reference.RMS_NORM_EPS,
        "rope_scaling": {
          "interleaved": True,
          "mrope_interleaved": True,
          "mrope_section": [24, 20, 20],
          "rope_type": "default",
          "type": "default",
        },
        "rope_theta": reference.ROPE_THETA,
        "tie_word_embeddings": tied,
        "use_cache": True,
      },
    },
    "transformers_version": "4.57.6",
  }


def native_config(ref: Reference = qwen3_asr.REFERENCE, *, tied: bool = True) -> dict:
  """config.json as transformers saves it."""
  return {
    "architectures": ["Qwen3ASRForConditionalGeneration"],
    "audio_config": {
      **ref.audio,
      "activation_dropout": 0.0,
      "activation_function": "gelu",
      "attention_dropout": 0.0,
      "dropout": 0.0,
      "initializer_range": 0.02,
      "max_position_embeddings": 13,
      "model_type": "qwen3_asr_encoder",
      "n_window": 50,
      "n_window_infer": 800,
      "scale_embedding": False,
    },
    "audio_token_id": reference.AUDIO_PAD,
    "dtype": "float32",
    "eos_token_id": [reference.PAD, reference.IM_END],
    "initializer_range": 0.02,
    "model_type": "qwen3_asr",
    "pad_token_id": reference.PAD,
    "text_config": {
      "vocab_size": VOCABULARY,
      **ref.text,
      "attention_bias": False,
      "attention_dropout": 0.0,
      "hidden_act": "silu",
      "layer_types": ["full_attention"] * ref.text["num_hidden_layers"],
      "max_position_embeddings": 65536,
      "model_type": "qwen3",
      "rms_norm_eps": reference.RMS_NORM_EPS,
      "rope_parameters": {"rope_theta": reference.ROPE_THETA, "rope_type": "default"},
      "tie_word_embeddings": tied,
      "use_sliding_window": False,
    },
    "tie_word_embeddings": tied,
  }


def weights(
  naming: str,
  ref: Reference = qwen3_asr.REFERENCE,
  *,
  head: str | None = None,
  dtype: str = "float32",
) -> dict:
  """The golden weights under the names of a naming.

  Args:
    head: "stored", equal to the embedding; "untied", another one; None, there is none.
    dtype: float32 or bfloat16.
  """
  found = ref.weights()
  embedding = found["model.language_model.embed_tokens.weight"]
  if head is not None:
    found["lm_head.weight"] = embedding.copy() if head == "stored" else embedding[::-1].copy()
  found = {name: value.astype(np.dtype(dtype)) for name, value in found.items()}
  if naming == "native":
    return found
  renamed = {}
  for name, value in found.items():
    prefix = next(prefix for prefix in _TO_ORIGINAL if name.startswith(prefix))
    renamed[_TO_ORIGINAL[prefix] + name.removeprefix(prefix)] = value
  return renamed


def native_name(name: str) -> str:
  """The native name of an original one."""
  prefix = next(prefix for prefix in reversed(_ORIGINALS) if name.startswith(prefix))
  return _ORIGINALS[prefix] + name.removeprefix(prefix)


def write(
  folder: pathlib.Path,
  naming: str,
  ref: Reference = qwen3_asr.REFERENCE,
  *,
  head: str | None = None,
  dtype: str = "float32",
  tied: bool = True,
  shards: int = 1,
) -> dict:
  """Writes the checkpoint with `safetensors`; returns its tensors."""
  folder.mkdir(parents=True)
  config = (original_config if naming == "original" else native_config)(ref, tied=tied)
  (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
  for name, text in OTHER_FILES.items():
    (folder / name).write_text(text)
  tensors = weights(naming, ref, head=head, dtype=dtype)
  if shards == 1:
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return tensors
  names, index = sorted(tensors), {}
  for i in range(shards):
    file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
    part = {name: tensors[name] for name in names[i::shards]}
    save_file(part, folder / file, {"format": "pt"})
    index |= dict.fromkeys(part, file)
  total = sum(value.nbytes for value in tensors.values())
  text = json.dumps({"metadata": {"total_size": total}, "weight_map": index})
  (folder / "model.safetensors.index.json").write_text(text)
  return tensors


assert ml_dtypes  # registers bfloat16 with numpy
