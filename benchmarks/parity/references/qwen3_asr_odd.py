"""A tiny Qwen3-ASR of an odd shape: nothing is a power of two, and few sizes are equal."""

import dataclasses

from benchmarks.parity.references import qwen3_asr

REFERENCE = dataclasses.replace(
  qwen3_asr.REFERENCE,
  name="qwen3_asr_odd",
  audio={
    "num_mel_bins": 128,
    "d_model": 54,
    "encoder_layers": 3,
    "encoder_attention_heads": 3,
    "encoder_ffn_dim": 100,
    "downsample_hidden_size": 5,
    "output_dim": 60,
  },
  text={
    "hidden_size": 60,
    "intermediate_size": 84,
    "num_hidden_layers": 5,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 24,
  },
  seconds=(0.02, 0.5, 0.99, 1.0, 8.0, 8.01, 30.0, 100.0),
  seed=1,
)
