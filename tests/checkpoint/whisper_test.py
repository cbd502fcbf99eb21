"""Names, axes and settings of Whisper's encoder against the published checkpoints."""

import re
from typing import Any

import pytest

from benchmarks.parity.references import whisper as golden
from maxtext_ext.checkpoint import whisper
from maxtext_ext.checkpoint.keymap import places_by_name
from maxtext_ext.models.encoders.whisper import WhisperConfig

# config.json of openai/whisper-small as it is published, token lists shortened.
PUBLISHED: dict[str, Any] = {
  "_name_or_path": "openai/whisper-small",
  "activation_dropout": 0.0,
  "activation_function": "gelu",
  "architectures": ["WhisperForConditionalGeneration"],
  "attention_dropout": 0.0,
  "begin_suppress_tokens": [220, 50257],
  "bos_token_id": 50257,
  "d_model": 768,
  "decoder_attention_heads": 12,
  "decoder_ffn_dim": 3072,
  "decoder_layerdrop": 0.0,
  "decoder_layers": 12,
  "decoder_start_token_id": 50258,
  "dropout": 0.0,
  "encoder_attention_heads": 12,
  "encoder_ffn_dim": 3072,
  "encoder_layerdrop": 0.0,
  "encoder_layers": 12,
  "eos_token_id": 50257,
  "forced_decoder_ids": [[1, 50259], [2, 50359], [3, 50363]],
  "init_std": 0.02,
  "is_encoder_decoder": True,
  "max_length": 448,
  "max_source_positions": 1500,
  "max_target_positions": 448,
  "model_type": "whisper",
  "num_hidden_layers": 12,
  "num_mel_bins": 80,
  "pad_token_id": 50257,
  "scale_embedding": False,
  "suppress_tokens": [1, 2, 7],
  "torch_dtype": "float32",
  "transformers_version": "4.27.0.dev0",
  "use_cache": True,
  "vocab_size": 51865,
}


def test_rules_name_every_tensor_with_its_shape():
  for ref in golden.REFERENCES.values():
    sizes = whisper.encoder_sizes(whisper.encoder_keys(ref.config()))
    places = places_by_name(whisper.encoder_rules(), sizes)
    found = {name: held[0].rule.hf_shape(sizes) for name, held in places.items()}
    assert found == ref.shapes()
    assert all(len(held) == 1 for held in places.values())
  assert {rule.source for rule in whisper.encoder_rules()} == {"encoder"}


def test_what_is_not_the_encoders_is_skipped():
  kept = "model.encoder.layers.0.fc1.weight"
  names = ["model.decoder.embed_tokens.weight", "model.decoder.layers.3.fc1.bias", kept]
  skipped = [name for name in [*names, "proj_out.weight"] if _skipped(name)]
  assert skipped == [*names[:2], "proj_out.weight"]


def _skipped(name: str) -> bool:
  return any(re.fullmatch(pattern, name) for pattern in whisper.SKIP)


def test_keys_of_a_published_config():
  keys = whisper.encoder_keys(PUBLISHED, stack=5)
  assert keys == {
    "speech_encoder": "whisper",
    "encoder": {
      "num_mel_bins": 80,
      "d_model": 768,
      "layers": 12,
      "heads": 12,
      "ffn_dim": 3072,
      "stack": 5,
      "positions": 1500,
    },
  }
  assert WhisperConfig(**keys["encoder"]).out_dim == 5 * 768


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"model_type": "wav2vec2"}, r"x.json: model_type 'wav2vec2', expected whisper$"),
    ({"max_source_positions": 500}, r"x.json: positions: .*multiple of 60 \(got 500\)"),
    ({"activation_function": "relu"}, r"x.json: activation_function.*'gelu'"),
    ({"encoder_attention_heads": 7}, r"x.json: d_model=768 must be .* a multiple of heads=7$"),
    ({"d_model": None}, r"x.json: d_model"),
    ({"conv_stride": 3}, r"x.json: .*conv_stride"),
  ],
)
def test_what_we_cannot_run_is_refused_in_one_line(change: dict[str, Any], message: str):
  with pytest.raises(ValueError, match=message) as refused:
    whisper.encoder_keys({**PUBLISHED, **change}, "x.json")
  assert "\n" not in str(refused.value)
