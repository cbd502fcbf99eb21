"""A tiny Qwen3-ASR as transformers has it, under the transformers-native names."""

from benchmarks.parity.references.reference import Reference

REFERENCE = Reference(
  name="qwen3_asr",
  audio={
    "num_mel_bins": 128,
    "d_model": 64,
    "encoder_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
    "downsample_hidden_size": 8,
    "output_dim": 48,
  },
  text={
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
  },
  audio_prefix="model.audio_tower.",
  projector=("model.multi_modal_projector.linear_1", "model.multi_modal_projector.linear_2"),
  text_prefix="model.language_model.",
  seconds=(0.1, 0.5, 0.99, 1.0, 5.3, 8.0, 8.01, 17.3, 30.0, 100.0, 0.02),
)
