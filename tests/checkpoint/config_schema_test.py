"""config.json: published ones pass, and a setting that would change the numbers is refused."""

import copy

import pytest
from transformers import Qwen3ASRConfig, Qwen3OmniMoeConfig, Qwen3OmniMoeThinkerConfig

from benchmarks.parity.references import qwen3_asr_files, qwen3_omni_files
from maxtext_ext.checkpoint import qwen3_asr_config, qwen3_omni

ASR = {"original": qwen3_asr_files.original_config(), "native": qwen3_asr_files.native_config()}
# What a section of config.json of transformers 4 holds besides, at its defaults.
TRANSFORMERS_4 = {
  **dict.fromkeys(("return_dict", "tie_word_embeddings"), True),
  **dict.fromkeys(
    [
      *("add_cross_attention", "do_sample", "early_stopping", "is_decoder", "is_encoder_decoder"),
      *("output_attentions", "output_hidden_states", "output_scores", "remove_invalid_values"),
      *("return_dict_in_generate", "tf_legacy_loss", "tie_encoder_decoder", "torchscript"),
      "use_bfloat16",
    ],
    False,
  ),
  **dict.fromkeys(
    [
      *("architectures", "bad_words_ids", "begin_suppress_tokens", "bos_token_id", "eos_token_id"),
      *("cross_attention_hidden_size", "decoder_start_token_id", "dtype", "finetuning_task"),
      *("exponential_decay_length_penalty", "forced_bos_token_id", "forced_eos_token_id"),
      *("pad_token_id", "prefix", "problem_type", "sep_token_id", "suppress_tokens"),
      *("task_specific_params", "tokenizer_class", "sliding_window", "quantization_config"),
    ]
  ),
  **dict.fromkeys(("diversity_penalty", "encoder_no_repeat_ngram_size", "min_length"), 0),
  **dict.fromkeys(("no_repeat_ngram_size", "chunk_size_feed_forward"), 0),
  **dict.fromkeys(
    ("length_penalty", "repetition_penalty", "temperature", "top_p", "typical_p"), 1.0
  ),
  **dict.fromkeys(("num_beams", "num_beam_groups", "num_return_sequences"), 1),
  "max_length": 20,
  "top_k": 50,
  "pruned_heads": {},
  "_name_or_path": "",
  "id2label": {"0": "LABEL_0"},
  "label2id": {"LABEL_0": 0},
}


def sections(config):
  inside = config.get("thinker_config", config)
  return inside["audio_config"], inside["text_config"]


@pytest.mark.parametrize("naming", ["original", "native"])
def test_the_keys_that_transformers_4_writes_change_nothing(naming):
  config = copy.deepcopy(ASR[naming])
  for section in sections(config):
    for key, value in TRANSFORMERS_4.items():
      section.setdefault(key, value)
  assert qwen3_asr_config.model_keys(config) == qwen3_asr_config.model_keys(ASR[naming])


def test_what_transformers_saves_today_passes(tmp_path):
  """Every key of its classes, under their defaults where the published models keep them."""
  ours = qwen3_asr_config.model_keys(ASR["native"])
  saved = Qwen3ASRConfig.from_dict(copy.deepcopy(ASR["native"])).to_dict()
  assert qwen3_asr_config.model_keys(saved) == ours
  thinker = qwen3_omni_files.config("native")
  expected = qwen3_omni.model_keys(thinker)
  saved = Qwen3OmniMoeThinkerConfig.from_dict(copy.deepcopy(thinker)).to_dict()
  assert qwen3_omni.model_keys(saved) == expected
  whole = Qwen3OmniMoeConfig.from_dict(qwen3_omni_files.config("original")).to_dict()
  assert qwen3_omni.model_keys(whole) == expected


# Settings of text_config that the decoder does not honour.
TEXT = {
  "an older spelling": ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling.type"),
  "dynamic": ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "rope_scaling.rope_type"),
  "a factor": ({"rope_scaling": {"rope_type": "default", "factor": 2.0}}, "rope_scaling.factor"),
  "both": ({"rope_scaling": {"rope_type": "default", "type": "yarn"}}, "rope_scaling.type"),
  "llama": ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "rope_type"),
  "by layer": ({"rope_parameters": {"full_attention": {}}}, "rope_parameters.full_attention"),
  "no theta": ({"rope_theta": None, "rope_parameters": None}, "expected one rope_theta, got none"),
  "two thetas": (
    {"rope_theta": 10000, "rope_parameters": {"rope_theta": 20000}},
    "expected one rope_theta, got 10000 and 20000",
  ),
  "a broken theta": (
    {"rope_theta": 12.75, "rope_parameters": None},
    "rope_theta: got 12.75, expected a whole number",
  ),
  "infinite theta": ({"rope_theta": float("inf"), "rope_parameters": None}, "rope_theta: got inf"),
  "partial": ({"partial_rotary_factor": 0.5}, "partial_rotary_factor: got 0.5"),
  "partial, inside": (
    {"rope_scaling": {"partial_rotary_factor": 0.5}},
    "rope_scaling.partial_rotary_factor",
  ),
  "windows": ({"use_sliding_window": True, "sliding_window": 8}, "use_sliding_window: got True"),
  "window layers": ({"layer_types": ["full_attention", "sliding_attention"]}, r"layer_types\.1"),
  "too few layers": ({"layer_types": ["full_attention"]}, "as many layer_types"),
  "activation": ({"hidden_act": "gelu"}, "hidden_act: got 'gelu', expected 'silu'"),
  "biases": ({"attention_bias": True}, "attention_bias: got True, expected False"),
  "another bias": ({"mlp_bias": True}, "mlp_bias: got True, and this key is not known"),
  "no q and k norms": ({"use_qk_norm": False}, "use_qk_norm: got False, expected True"),
  "quantized": ({"quantization_config": {"bits": 4}}, "quantization_config: got"),
  "scaled": ({"logits_scaling": 2.0}, "logits_scaling: got 2.0"),
  "capped": ({"final_logit_softcapping": 30.0}, "final_logit_softcapping"),
  "heads": ({"num_attention_heads": 5, "num_key_value_heads": 2}, "num_key_value_heads"),
  "tied by a word": ({"tie_word_embeddings": "yes"}, "tie_word_embeddings: got 'yes'"),
  "another model": ({"model_type": "llama"}, "model_type: got 'llama'"),
  "a decoder of BERT": ({"is_decoder": True}, "is_decoder"),
  "resolved": ({"rms_norm_eps": "${oc.env:SECRET}"}, r"rms_norm_eps: got '\$\{oc.env:SECRET\}'"),
}


@pytest.mark.parametrize("naming", ["original", "native"])
@pytest.mark.parametrize("case", TEXT)
def test_a_setting_of_the_decoder_that_is_not_honoured_is_refused_by_name(naming, case):
  change, message = TEXT[case]
  config = copy.deepcopy(ASR[naming])
  text = sections(config)[1]
  text |= change
  with pytest.raises(ValueError, match=message) as caught:
    qwen3_asr_config.model_keys(config, "x/config.json")
  assert str(caught.value).startswith("x/config.json: ")


AUDIO = {
  "window": ({"n_window": 100}, "n_window: got 100, expected 50"),
  "attention window": ({"n_window_infer": 400}, "n_window_infer: got 400, expected 800"),
  "activation": ({"activation_function": "relu"}, "activation_function: got 'relu'"),
  "scaled": ({"scale_embedding": True}, "scale_embedding"),
  "two names": ({"hidden_size": 32}, "audio_config.hidden_size: got 32"),
  "heads": ({"encoder_attention_heads": 7}, "encoder_attention_heads"),
  "unknown": ({"conv_bias": False}, "audio_config.conv_bias: got False"),
}


@pytest.mark.parametrize("case", AUDIO)
def test_a_setting_of_the_audio_tower_that_is_not_honoured_is_refused_by_name(case):
  change, message = AUDIO[case]
  config = copy.deepcopy(ASR["native"])
  config["audio_config"] |= change
  with pytest.raises(ValueError, match=message):
    qwen3_asr_config.model_keys(config)


def test_the_forced_aligner_is_another_model():
  native = ASR["native"] | {"token_classification_bias": True}
  with pytest.raises(ValueError, match="token_classification_bias: got True"):
    qwen3_asr_config.model_keys(native)
  original = copy.deepcopy(ASR["original"])
  original["thinker_config"]["model_type"] = "qwen3_forced_aligner"
  with pytest.raises(ValueError, match=r"thinker_config\.model_type: got 'qwen3_forced_aligner'"):
    qwen3_asr_config.model_keys(original)


def test_a_whole_theta_may_be_written_as_a_float_and_other_names_of_sizes_are_known():
  config = copy.deepcopy(ASR["original"])
  audio, text = sections(config)
  text["rope_theta"] = 1e6
  audio["hidden_size"] = audio.pop("d_model")
  keys = qwen3_asr_config.model_keys(config)
  assert keys["rope_max_timescale"] == 1_000_000
  assert isinstance(keys["rope_max_timescale"], int)
  assert keys["d_model_for_audio"] == audio["hidden_size"]


def test_null_stands_for_a_key_that_is_not_there():
  config = copy.deepcopy(ASR["native"])
  config["tie_word_embeddings"] = None
  assert qwen3_asr_config.model_keys(config)["logits_via_embedding"] is True
  config["text_config"]["not_known_yet"] = None
  qwen3_asr_config.model_keys(config)
