"""Names, axes and settings of dense language models against the map by hand; what is refused."""

import math

import numpy as np
import pytest

from benchmarks.parity.references import dense_lm as references
from benchmarks.parity.references import ours
from benchmarks.parity.references.dense_lm import LLAMA, QWEN2, QWEN3, SMOLLM2, hf_config
from maxtext_ext.checkpoint import dense_lm
from maxtext_ext.checkpoint.dense_lm import lm_keys, lm_rules
from maxtext_ext.checkpoint.keymap import our_shapes, places_by_name
from tests.checkpoint.qwen3_asr_test import flat

# config.json as published, without what says nothing of the model.
SMOLLM2_135M = {
  "architectures": ["LlamaForCausalLM"],
  "attention_bias": False,
  "attention_dropout": 0.0,
  "bos_token_id": 1,
  "eos_token_id": 2,
  "hidden_act": "silu",
  "hidden_size": 576,
  "initializer_range": 0.041666666666666664,
  "intermediate_size": 1536,
  "is_llama_config": True,
  "max_position_embeddings": 8192,
  "mlp_bias": False,
  "model_type": "llama",
  "num_attention_heads": 9,
  "num_hidden_layers": 30,
  "num_key_value_heads": 3,
  "pad_token_id": 2,
  "pretraining_tp": 1,
  "rms_norm_eps": 1e-05,
  "rope_interleaved": False,
  "rope_scaling": None,
  "rope_theta": 100000,
  "tie_word_embeddings": True,
  "torch_dtype": "bfloat16",
  "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16", "fp16": "float16"}},
  "transformers_version": "4.42.3",
  "use_cache": True,
  "vocab_size": 49152,
}
QWEN25_05B = {
  "architectures": ["Qwen2ForCausalLM"],
  "attention_dropout": 0.0,
  "bos_token_id": 151643,
  "eos_token_id": 151645,
  "hidden_act": "silu",
  "hidden_size": 896,
  "initializer_range": 0.02,
  "intermediate_size": 4864,
  "max_position_embeddings": 32768,
  "max_window_layers": 21,
  "model_type": "qwen2",
  "num_attention_heads": 14,
  "num_hidden_layers": 24,
  "num_key_value_heads": 2,
  "rms_norm_eps": 1e-06,
  "rope_theta": 1000000.0,
  "sliding_window": 32768,
  "tie_word_embeddings": True,
  "use_sliding_window": False,
  "vocab_size": 151936,
}
# As transformers 5 writes it.
QWEN3_06B = {
  "architectures": ["Qwen3ForCausalLM"],
  "attention_bias": False,
  "head_dim": 128,
  "hidden_act": "silu",
  "hidden_size": 1024,
  "intermediate_size": 3072,
  "layer_types": ["full_attention"] * 28,
  "max_position_embeddings": 40960,
  "max_window_layers": 28,
  "model_type": "qwen3",
  "num_attention_heads": 16,
  "num_hidden_layers": 28,
  "num_key_value_heads": 8,
  "rms_norm_eps": 1e-06,
  "rope_parameters": {"rope_theta": 1000000, "rope_type": "default"},
  "sliding_window": None,
  "tie_word_embeddings": True,
  "use_sliding_window": False,
  "vocab_size": 151936,
}


def sizes_and_rules(ref, *, scanned: bool = True):
  keys = lm_keys(hf_config(ref))
  rules = lm_rules(keys, tied=ref.head is None)
  return dense_lm.sizes(keys), rules if scanned else [rule.unscanned() for rule in rules]


@pytest.mark.parametrize("scanned", [True, False], ids=["scanned", "unscanned"])
@pytest.mark.parametrize("ref", references.REFERENCES.values(), ids=lambda ref: ref.name)
def test_rules_are_the_map_by_hand_and_give_every_bit_back(ref, scanned):
  sizes, rules = sizes_and_rules(ref, scanned=scanned)
  weights = references.lm_weights(ref)
  by_name = places_by_name(rules, sizes)
  shapes = {name: places[0].rule.hf_shape(sizes) for name, places in by_name.items()}
  assert shapes == {name: value.shape for name, value in weights.items()}
  found = {path: np.full(shape, np.nan) for path, shape in our_shapes(rules, sizes).items()}
  for name, (place,) in by_name.items():
    view = place.rule.view(weights[name], sizes)
    found[place.path][place.slot()] = view * place.rule.factor(sizes)
  block = lm_keys(hf_config(ref))["decoder_block"]
  expected = flat(ours.text_params(ref, ref.weights(), scanned=scanned, block=block))
  assert found.keys() == expected.keys()
  for path, value in expected.items():
    np.testing.assert_array_equal(found[path], value, err_msg=path)
  for name, (place,) in by_name.items():
    back = np.empty_like(weights[name])
    stored = found[place.path][place.slot()].astype(np.float32)
    place.rule.view(back, sizes)[...] = stored / np.float32(place.rule.factor(sizes))
    np.testing.assert_array_equal(back, weights[name], err_msg=name)


@pytest.mark.parametrize(
  ("config", "block", "head_dim", "theta", "parameters"),
  [
    (SMOLLM2_135M, "llama2", 64, 100_000, 134_515_008),
    (QWEN25_05B, "qwen2", 64, 1_000_000, 494_032_768),
    (QWEN3_06B, "qwen3", 128, 1_000_000, 596_049_920),
  ],
  ids=["SmolLM2-135M", "Qwen2.5-0.5B", "Qwen3-0.6B"],
)
def test_published_shapes(config, block, head_dim, theta, parameters):
  keys = lm_keys(config)
  assert keys["decoder_block"] == block
  assert (keys["head_dim"], keys["rope_max_timescale"]) == (head_dim, theta)
  assert (keys["attention_bias"], keys["use_qk_norm"]) == (block == "qwen2", block == "qwen3")
  assert keys["logits_via_embedding"] is True
  shapes = our_shapes(lm_rules(keys, tied=True), dense_lm.sizes(keys))
  assert sum(math.prod(shape) for shape in shapes.values()) == parameters


@pytest.mark.parametrize(
  ("config", "changes", "said"),
  [
    (SMOLLM2_135M, {"model_type": "smollm3"}, "SmolLM3 has layers without rotary embedding"),
    (SMOLLM2_135M, {"model_type": "gemma"}, "model_type 'gemma', expected one of llama, qwen2,"),
    (SMOLLM2_135M, {"attention_bias": True}, "attention_bias: got True"),
    (SMOLLM2_135M, {"mlp_bias": True}, "mlp_bias: got True"),
    (SMOLLM2_135M, {"hidden_act": "gelu"}, "hidden_act: got 'gelu', expected 'silu'"),
    (SMOLLM2_135M, {"rope_interleaved": True}, "rope_interleaved: got True"),
    (SMOLLM2_135M, {"no_rope_layers": [0]}, r"no_rope_layers: got \[0\], and this key is not"),
    (
      SMOLLM2_135M,
      {"rope_scaling": {"rope_type": "llama3", "factor": 32.0}},
      "rope_scaling.rope_type: got 'llama3', expected 'default'",
    ),
    (SMOLLM2_135M, {"hidden_size": 570}, r"a hidden_size \(570\) that num_attention_heads \(9\)"),
    (SMOLLM2_135M, {"head_dim": 63}, "head_dim: got 63"),
    (SMOLLM2_135M, {"num_key_value_heads": 2}, r"a number of heads \(9\)"),
    (SMOLLM2_135M, {"rope_theta": None}, "one rope_theta, got none"),
    (SMOLLM2_135M, {"partial_rotary_factor": 0.5}, "partial_rotary_factor: got 0.5"),
    (QWEN25_05B, {"use_sliding_window": True}, "use_sliding_window: got True"),
    (QWEN25_05B, {"attention_bias": False}, "attention_bias: got False"),
    (QWEN3_06B, {"layer_types": ["sliding_attention"] * 28}, "layer_types.0: got 'sliding_atten"),
    (QWEN3_06B, {"attention_bias": True}, "attention_bias: got True"),
  ],
)
def test_what_cannot_be_exact_is_refused_in_one_line(config, changes, said):
  with pytest.raises(ValueError, match=f"^lm/config.json: .*{said}") as caught:
    lm_keys({**config, **changes}, "lm/config.json")
  assert "\n" not in str(caught.value)


def test_a_query_is_scaled_in_its_kernel_only_where_that_is_exact():
  scaled = {
    ref.name: [rule.hf for rule in sizes_and_rules(ref)[1] if rule.over_root]
    for ref in (SMOLLM2, LLAMA, QWEN2, QWEN3)
  }
  query = "model.layers.{layer}.self_attn.q_proj.weight"
  assert scaled == {"smollm2": [query], "llama": [], "qwen2": [], "qwen3": []}
  assert lm_keys({**hf_config(LLAMA), "head_dim": 256})["decoder_block"] == "llama2"
