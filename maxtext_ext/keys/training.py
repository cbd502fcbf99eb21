"""MaxText's keys with the narrower ranges of a speech run.

Descriptions are MaxText's. Defaults are MaxText's too; `configs/speech.yml` has those of a run.
"""

import re
from typing import Annotated, Literal

import pydantic
from pydantic import AfterValidator, Field

from maxtext_ext.subconfig import Count


def _require_not_zero(number: int) -> int:
  if not number:
    raise ValueError("expected -1, or at least 1")
  return number


def _require_regexes(texts: list[str]) -> list[str]:
  for text in texts:
    try:
      re.compile(text)
    except re.error as error:
      raise ValueError(f"{text!r} is no regular expression: {error}") from error
  return texts


Seed = Annotated[int, Field(ge=0, lt=2**32)]
Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
NotNegative = Annotated[float, Field(ge=0)]
# -1 stands for what follows from the rest.
CountOrRest = Annotated[int, Field(ge=-1, le=10**9), AfterValidator(_require_not_zero)]
DType = Literal["float32", "bfloat16", "float16"]


class TrainingKeys(pydantic.BaseModel):
  """Keys of MaxText, narrowed."""

  model_config = pydantic.ConfigDict(allow_inf_nan=False, protected_namespaces=())

  hardware: Literal["auto", "tpu", "gpu", "gpu_multiprocess", "cpu"] = "auto"
  run_name: str = ""
  base_output_directory: str = Field("", min_length=1)
  train_split: str = Field("train", min_length=1)
  eval_split: str = Field("validation", min_length=1)
  # Length and order of a run
  steps: Count = 150_001
  log_period: Count = 100
  eval_interval: int = Field(-1, ge=-1, le=10**9)
  checkpoint_period: Count = 10_000
  max_num_checkpoints_to_keep: int | None = Field(None, ge=1, le=10**9)
  data_shuffle_seed: Seed = 0
  init_weights_seed: Seed = 0
  checkpoint_storage_concurrent_gb: Count = 96
  jax_distributed_initialization_timeout: Count = 300
  # Batches
  per_device_batch_size: Count = 12
  gradient_accumulation_steps: Count = 1
  max_target_length: Count = 2048
  num_vocab_tiling: Count = 1
  # Optimizer
  learning_rate: float = Field(3e-5, ge=0)
  learning_rate_final_fraction: Share = 0.1
  learning_rate_schedule_steps: CountOrRest = -1
  warmup_steps_fraction: Share = 0.1
  wsd_decay_steps_fraction: Share = 0.1
  opt_type: Literal["adamw", "adam_pax", "sgd"] = "adamw"
  adamw_mask: Annotated[list[str], AfterValidator(_require_regexes)] = []
  trainable_parameters_mask: list[str] = []
  adam_b1: Decay = 0.9
  adam_b2: Decay = 0.95
  adam_eps: float = Field(1e-8, gt=0)
  adam_eps_root: NotNegative = 0.0
  adam_weight_decay: NotNegative = 0.1
  gradient_clipping_threshold: NotNegative = 1.0
  dropout_rate: Decay = 0.0
  load_balance_loss_weight: NotNegative = 0.0
  # Numbers and kernels
  dtype: DType = "bfloat16"
  weight_dtype: DType = "float32"
  mu_dtype: Literal["", "float32", "bfloat16", "float16"] = ""
  attention: Literal[
    "autoselected", "dot_product", "flash", "cudnn_flash_te", "cudnn_flash_jax"
  ] = "autoselected"
  remat_policy: Literal[
    "none",
    "full",
    "minimal",
    "minimal_with_context",
    "minimal_flash",
    "minimal_with_quantization",
    "minimal_with_context_and_quantization",
    "save_dot_with_context_except_mlp",
    "save_dot_except_mlpwi",
    "save_dot_except_mlp",
    "save_qkv_proj",
    "save_out_proj",
    "qkv_proj_offloaded",
    "minimal_offloaded",
    "custom",
  ] = "full"
  # Language model
  vocab_size: Count = 32_000
  base_emb_dim: Count = 2048
  base_mlp_dim: Count = 7168
  base_num_decoder_layers: Count = 16
  base_num_query_heads: Count = 16
  base_num_kv_heads: Count = 16
  head_dim: Count = 128
  num_experts: Count = 1
  num_experts_per_tok: Count = 1
  rope_max_timescale: Count = 10_000
  normalization_layer_epsilon: float = Field(1e-5, gt=0)
  # Encoder
  num_mel_bins_for_audio: Count = 128
  d_model_for_audio: Count = 256
  encoder_layers_for_audio: Count = 2
  encoder_attention_heads_for_audio: Count = 4
  encoder_ffn_dim_for_audio: Count = 512
  downsample_hidden_size_for_audio: Count = 256
  output_dim_for_audio: Count = 512
  # Mesh
  num_slices: CountOrRest = -1
  ici_data_parallelism: CountOrRest = 1
  ici_fsdp_parallelism: CountOrRest = -1
  ici_tensor_parallelism: CountOrRest = 1
  ici_expert_parallelism: CountOrRest = 1
  dcn_data_parallelism: CountOrRest = -1
  dcn_fsdp_parallelism: CountOrRest = 1
  dcn_tensor_parallelism: CountOrRest = 1
  dcn_expert_parallelism: CountOrRest = 1
