"""Configuration keys and weights of a reference under our names.

Written by hand, as an independent check of conversion's key tables.
"""

from typing import Any

import jax
import numpy as np

from benchmarks.parity.references.reference import VOCABULARY, Reference

Params = dict[str, Any]


def config_keys(ref: Reference) -> dict[str, Any]:
  """The keys of `configs/models/*.yml` for the reference's shape."""
  audio, text = ref.audio, ref.text
  keys = {
    "base_emb_dim": text["hidden_size"],
    "base_num_decoder_layers": text["num_hidden_layers"],
    "base_num_query_heads": text["num_attention_heads"],
    "base_num_kv_heads": text["num_key_value_heads"],
    "head_dim": text["head_dim"],
    "vocab_size": VOCABULARY,
    "normalization_layer_epsilon": ref.rms_norm_eps,
    "rope_max_timescale": int(ref.rope_theta),
    "logits_via_embedding": ref.head is None,
    "num_mel_bins_for_audio": audio["num_mel_bins"],
    "d_model_for_audio": audio["d_model"],
    "encoder_layers_for_audio": audio["encoder_layers"],
    "encoder_attention_heads_for_audio": audio["encoder_attention_heads"],
    "encoder_ffn_dim_for_audio": audio["encoder_ffn_dim"],
    "downsample_hidden_size_for_audio": audio["downsample_hidden_size"],
    "output_dim_for_audio": audio["output_dim"],
  }
  if "num_experts" not in text:
    return keys | {"base_mlp_dim": text["intermediate_size"]}
  mlp = text["moe_intermediate_size"]
  keys |= {"base_mlp_dim": mlp, "base_moe_mlp_dim": mlp}
  return keys | {key: text[key] for key in ("num_experts", "num_experts_per_tok")}


def params(ref: Reference, *, scanned: bool, block: str = "qwen3") -> Params:
  """Returns every weight of the reference under our names, nested.

  Args:
    block: the key `decoder_block`.
  """
  weights = ref.weights()
  text = text_params(ref, weights, scanned=scanned, block=block)
  return {**speech_params(ref, weights), **text}


def speech_params(ref: Reference, weights: dict[str, np.ndarray]) -> Params:
  """The encoder's and the projector's weights, the encoder's layers stacked.

  {"speech_encoder": {"conv2d1": {"kernel": HWIO, "bias": ..}, .., "layers": {..}}, "projector": ..}
  """
  encoder: Params = {}
  projector: Params = {}
  of_projector = {f"{name}.": f"linear_{i}." for i, name in enumerate(ref.projector, 1)}
  for name, value in weights.items():
    renamed = next((new + name[len(old) :] for old, new in of_projector.items() if old in name), "")
    if renamed:
      _place(projector, renamed, value)
    elif name.startswith(ref.audio_prefix):
      _place(encoder, name.removeprefix(ref.audio_prefix), value)
  layers = encoder.pop("layers")
  ordered = [layers[str(i)] for i in range(len(layers))]
  encoder["layers"] = jax.tree.map(lambda *leaves: np.stack(leaves), *ordered)
  return {"speech_encoder": encoder, "projector": projector}


def _place(tree: Params, name: str, value: np.ndarray) -> None:
  *path, leaf = name.split(".")
  if value.ndim == 4:
    value = value.transpose(2, 3, 1, 0)
  elif value.ndim == 2:
    value = value.T
  for part in path:
    tree = tree.setdefault(part, {})
  is_norm = path[-1].endswith(("norm", "ln_post"))
  tree[{"weight": "scale" if is_norm else "kernel", "bias": "bias"}[leaf]] = value


def text_params(
  ref: Reference, weights: dict[str, np.ndarray], *, scanned: bool, block: str
) -> Params:
  """The language model's weights under MaxText's names."""
  layers = [_layer(ref, weights, i, block) for i in range(ref.text["num_hidden_layers"])]
  decoder: Params = {"decoder_norm": {"scale": weights[f"{ref.text_prefix}norm.weight"]}}
  if scanned:  # MaxText stacks its layers along axis 1
    decoder["layers"] = jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *layers)
  else:
    decoder |= {f"layers_{i}": layer for i, layer in enumerate(layers)}
  if ref.head is not None:
    decoder["logits_dense"] = {"kernel": weights[f"{ref.head}.weight"].T}
  embedding = weights[f"{ref.text_prefix}embed_tokens.weight"]
  return {"decoder": decoder, "token_embedder": {"embedding": embedding}}


def _layer(ref: Reference, weights: dict[str, np.ndarray], number: int, block: str) -> Params:
  prefix = f"{ref.text_prefix}layers.{number}."
  w = {
    name.removeprefix(prefix).removesuffix(".weight"): value
    for name, value in weights.items()
    if name.startswith(prefix)
  }
  hidden, head = ref.text["hidden_size"], ref.text["head_dim"]

  def by_head(name: str) -> Params:
    made = {"kernel": w[f"self_attn.{name}"].T.reshape(hidden, -1, head)}
    if ref.biases:
      made["bias"] = w[f"self_attn.{name}.bias"].reshape(-1, head)
    return made

  attention = {
    "query": by_head("q_proj"),
    "key": by_head("k_proj"),
    "value": by_head("v_proj"),
    "out": {"kernel": w["self_attn.o_proj"].T.reshape(-1, head, hidden)},
  }
  if ref.norms:
    attention["query_norm"] = {"scale": w["self_attn.q_norm"]}
    attention["key_norm"] = {"scale": w["self_attn.k_norm"]}
  if block == "llama2":  # whose layers do not scale queries
    attention["query"]["kernel"] = attention["query"]["kernel"] * np.float32(head**-0.5)
  layer = {
    "self_attention": attention,
    "pre_self_attention_layer_norm": {"scale": w["input_layernorm"]},
    "post_self_attention_layer_norm": {"scale": w["post_attention_layernorm"]},
  }
  names = {"wi_0": "gate_proj", "wi_1": "up_proj", "wo": "down_proj"}
  if experts := ref.text.get("num_experts"):
    block: Params = {"gate": {"kernel": w["mlp.gate"].T}}
    for ours, theirs in names.items():
      block[ours] = np.stack([w[f"mlp.experts.{e}.{theirs}"].T for e in range(experts)])
    return layer | {"moe_block": block}
  mlp = {ours: {"kernel": w[f"mlp.{theirs}"].T} for ours, theirs in names.items()}
  return layer | {"mlp": mlp}
