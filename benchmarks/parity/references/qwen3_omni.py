"""A tiny Qwen3-Omni thinker, under the names of the published checkpoint (experts one by one)."""

from benchmarks.parity.references.reference import Reference

REFERENCE = Reference(
  name="qwen3_omni",
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
    "moe_intermediate_size": 40,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
  },
  audio_prefix="thinker.audio_tower.",
  projector=("thinker.audio_tower.proj1", "thinker.audio_tower.proj2"),
  text_prefix="thinker.model.",
  head="thinker.lm_head",
  seed=2,
  seconds=(0.02, 0.5, 0.99, 1.0, 8.0, 8.01, 30.0, 100.0),
)
