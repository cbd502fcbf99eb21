"""Dense language models of Hugging Face: their shape from config.json, and rules for their tensors.

SmolLM2 and other Llamas, Qwen2.5 and Qwen3, under the names that `LlamaForCausalLM`,
`Qwen2ForCausalLM` and `Qwen3ForCausalLM` of transformers have for their tensors.

MaxText's `llama2` layers do not scale queries by head_dim**-0.5, so the query kernels carry that
factor: 1/8 for SmolLM2's heads of 64, which changes no digit. Where the factor is no power of two
the `qwen2` layers are used, which scale queries and are the same otherwise.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from maxtext_ext.checkpoint import config_schema, lm_schema
from maxtext_ext.checkpoint.keymap import SOLE, Rule
from maxtext_ext.files import foreign_json
from maxtext_ext.files.foreign_json import shown

# Keys of config.json, and ours.
TEXT_KEYS = {
  "hidden_size": "base_emb_dim",
  "num_hidden_layers": "base_num_decoder_layers",
  "num_attention_heads": "base_num_query_heads",
  "num_key_value_heads": "base_num_kv_heads",
  "head_dim": "head_dim",
  "vocab_size": "vocab_size",
  "rms_norm_eps": "normalization_layer_epsilon",
}
_SCHEMAS: dict[str, type[lm_schema.LanguageModel]] = {
  "llama": lm_schema.Llama,
  "qwen2": lm_schema.Qwen2,
  "qwen3": lm_schema.Qwen3,
}
# Models that a decoder of MaxText's would compute wrongly, and why.
_REFUSED = {
  "smollm3": (
    "SmolLM3 has layers without rotary embedding (no_rope_layers), and MaxText's decoders have it"
    " in all; take SmolLM2, Qwen2.5 or Qwen3"
  ),
}
# For `Source.model_types`; with those that `lm_keys` refuses by name.
MODEL_TYPES = (*_SCHEMAS, *_REFUSED)


def text_keys(text: config_schema.AnyText) -> dict[str, Any]:
  """Keys of SpeechConfig that are those of a decoder's section of config.json."""
  return {
    **{ours: getattr(text, theirs) for theirs, ours in TEXT_KEYS.items()},
    "rope_max_timescale": text.theta,
    "mlp_activations": ["silu", "linear"],
    "normalize_embedding_logits": False,
  }


def lm_keys(hf_config: Mapping[str, Any], source: str = "config.json") -> dict[str, Any]:
  """The keys of SpeechConfig for a language model.

  Args:
    hf_config: config.json.
    source: the file, for messages.

  Raises:
    ValueError: config.json lacks a key, or asks for what MaxText's decoders do not compute.
  """
  kind = hf_config.get("model_type")
  if kind in _REFUSED:
    raise ValueError(f"{source}: {_REFUSED[kind]}")
  if kind not in _SCHEMAS:
    raise ValueError(f"{source}: model_type {shown(kind)}, expected one of {', '.join(_SCHEMAS)}")
  text = foreign_json.check(_SCHEMAS[kind], dict(hf_config), source)
  block = kind
  if kind == "llama":
    block = "llama2" if math.log2(text.head_dim) % 2 == 0 else "qwen2"
  return {
    **text_keys(text),
    "base_mlp_dim": text.intermediate_size,
    "decoder_block": block,
    "attention_bias": kind == "qwen2",
    "use_qk_norm": kind == "qwen3",
    "logits_via_embedding": bool(text.tie_word_embeddings),
  }


def lm_rules(
  model: Mapping[str, Any],
  *,
  tied: bool,
  text: str = "model",
  head: str = "lm_head",
  source: str = SOLE,
) -> list[Rule]:
  """Rules for every tensor of a language model, its layers stacked.

  Args:
    model: keys of SpeechConfig, as `lm_keys` has them.
    tied: whether the output head is the embedding.
    text, head: where the decoder and the head lie among the checkpoint's names.
    source: the checkpoint that has them, a key of `Family.sources`.
  """
  block = getattr(model["decoder_block"], "value", model["decoder_block"])
  rules = attention_rules(
    text,
    norms=model["use_qk_norm"],
    biases=model["attention_bias"],
    query_scale=block != "llama2",
  )
  rules += mlp_rules(text) + ([] if tied else [head_rule(head)])
  return [dataclasses.replace(rule, source=source) for rule in rules]


def attention_rules(
  text: str, *, norms: bool = True, biases: bool = False, query_scale: bool = True
) -> list[Rule]:
  """Embedding, attention and norms of a decoder, whatever its feed-forward.

  Args:
    norms: of every head's queries and keys.
    biases: of queries, keys and values.
    query_scale: the layer scales queries itself; else the query kernel does.
  """
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
        over_root="size" if letter == "q" and not query_scale else "",
      )
    )
    if biases:
      rules.append(
        Rule(
          hf=f"{hf}.self_attn.{letter}_proj.bias",
          ours=f"{attention}/{name}/bias",
          layout=f"({heads} size) -> {heads} layer size",
        )
      )
  of_layers = {
    "input_layernorm": ("pre_self_attention_layer_norm", "hidden"),
    "post_attention_layernorm": ("post_self_attention_layer_norm", "hidden"),
  }
  of_heads = {
    "self_attn.q_norm": ("self_attention/query_norm", "size"),
    "self_attn.k_norm": ("self_attention/key_norm", "size"),
  }
  for name, (path, axis) in {**(of_heads if norms else {}), **of_layers}.items():
    rules.append(
      Rule(hf=f"{hf}.{name}.weight", ours=f"{ours}/{path}/scale", layout=f"{axis} -> {axis} layer")
    )
  return rules


def mlp_rules(text: str) -> list[Rule]:
  """The dense feed-forward of a decoder."""
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


def tied_head_rule(head: str, source: str = SOLE) -> Rule:
  """A head that is stored though it is the embedding."""
  return Rule(
    hf=f"{head}.weight",
    ours="token_embedder/embedding",
    layout="vocab hidden -> vocab hidden",
    source=source,
  )


def sizes(model: Mapping[str, Any]) -> dict[str, int]:
  """Sizes of the axes that the rules name, from the keys of SpeechConfig."""
  return {
    "hidden": model["base_emb_dim"],
    "mlp": model["base_mlp_dim"],
    "layer": model["base_num_decoder_layers"],
    "head": model["base_num_query_heads"],
    "kv_head": model["base_num_kv_heads"],
    "size": model["head_dim"],
    "vocab": model["vocab_size"],
  }
