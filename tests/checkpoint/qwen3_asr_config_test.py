"""config.json of Qwen3-ASR: shape, and either naming from the other, held to transformers."""

import copy

import pytest
from transformers import Qwen3ASRConfig

from benchmarks.parity.references import qwen3_asr_files as files
from benchmarks.parity.references import reference
from maxtext_ext.checkpoint import qwen3_asr_config

CONFIGS = {"original": files.original_config(), "native": files.native_config()}


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("source", ["original", "native"])
def test_config_of_either_naming_from_either(source, tied):
  for naming in ("original", "native"):
    made = qwen3_asr_config.hf_config(CONFIGS[source], naming, tied)
    assert ("thinker_config" in made) == (naming == "original")
    assert qwen3_asr_config.is_tied(made) == tied
    keys = qwen3_asr_config.model_keys(made)
    assert keys.pop("logits_via_embedding") == tied
    expected = qwen3_asr_config.model_keys(CONFIGS[source])
    expected.pop("logits_via_embedding")
    assert keys == expected
  assert qwen3_asr_config.hf_config(CONFIGS[source], source, True) == CONFIGS[source], (
    "kept as it is"
  )


def test_native_config_is_transformers():
  made = qwen3_asr_config.hf_config(CONFIGS["original"], "native", True)
  config = Qwen3ASRConfig.from_dict(copy.deepcopy(made))
  theirs = config.to_dict()
  for part in ("audio_config", "text_config"):
    assert {k: theirs[part][k] for k in made[part]} == made[part], "nothing is unknown or changed"
  assert theirs["text_config"]["rope_parameters"]["rope_theta"] == reference.ROPE_THETA
  assert theirs["audio_token_id"] == reference.AUDIO_PAD
  assert theirs["tie_word_embeddings"] is True
  assert qwen3_asr_config.model_keys(theirs) == qwen3_asr_config.model_keys(CONFIGS["original"])


def test_mrope_sections_fill_half_a_head():
  for head_dim in (16, 24, 64, 128):
    native = copy.deepcopy(CONFIGS["native"])
    native["text_config"]["head_dim"] = head_dim
    text = qwen3_asr_config.hf_config(native, "original", True)["thinker_config"]["text_config"]
    assert sum(text["rope_scaling"]["mrope_section"]) == head_dim // 2
  assert text["rope_scaling"]["mrope_section"] == [24, 20, 20]


WRONG = {
  "window": ("audio_config", {"n_window_infer": 400}, "n_window_infer: got 400"),
  "activation": ("text_config", {"hidden_act": "gelu"}, "hidden_act: got 'gelu'"),
  "width": ("audio_config", {"output_dim": 47}, "output_dim=47"),
  "rope": ("text_config", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1}}, "'yarn'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_model_that_we_cannot_run_is_refused(case):
  part, change, message = WRONG[case]
  config = copy.deepcopy(CONFIGS["native"])
  config[part] |= change
  with pytest.raises(ValueError, match=message):
    qwen3_asr_config.model_keys(config)


def test_missing_shape_is_said():
  config = copy.deepcopy(CONFIGS["native"])
  del config["text_config"]["head_dim"]
  with pytest.raises(ValueError, match=r"config\.json: text_config\.head_dim: missing"):
    qwen3_asr_config.model_keys(config)
  with pytest.raises(ValueError, match=r"config\.json: audio_config: missing"):
    qwen3_asr_config.model_keys({"model_type": "qwen3_asr", "text_config": {}})


def test_processor_of_the_other_naming():
  """As transformers saves its own, and there and back again."""
  whisper = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "feature_size": 128,
    "processor_class": "Qwen3ASRProcessor",
  }
  original = {"preprocessor_config.json": whisper}
  native = qwen3_asr_config.processor_files(original, "native")
  extractor = {"feature_extractor_type": "Qwen3ASRFeatureExtractor", "feature_size": 128}
  processor = {"feature_extractor": extractor, "processor_class": "Qwen3ASRProcessor"}
  assert native == {"processor_config.json": processor}
  assert qwen3_asr_config.processor_files(native, "original") == original
  assert qwen3_asr_config.processor_files({}, "native") == {}
