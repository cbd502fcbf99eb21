"""Run identity: the keys that define a run, and how two sets of them differ.

Free of JAX and MaxText, so that it can be asked before either is imported. Every key counts unless
it is known to leave the computed function and the order of the data as they are.
"""

import enum
import fnmatch
import functools
import json
from collections.abc import Collection, Mapping
from typing import Any

# Keys (patterns of names) that may differ between two commands of one run.
HARMLESS = (
  # Where things lie. Of data, tokenizer, weights and noise the contents count instead; of a model
  # the keys of its shape.
  *("base_config", "run_name", "base_output_directory", "model_name", "tokenizer_path"),
  *("data_dir", "noise_dir", "rir_dir", "load_parameters_path", "output", "*_cache_dir"),
  "checkpoint_family",  # how the weights are called elsewhere
  *("checkpoint_dir", "metrics_dir", "tensorboard_dir"),
  # How long it trains. The learning rate's schedule follows: its fractions are of all steps.
  *("steps", "epochs", "learning_rate_schedule_steps"),
  # Rows of a batch, and the pieces in which they are computed.
  *("per_device_batch_size", "per_device_batch_seconds", "gradient_accumulation_steps"),
  *("on_oom", "num_vocab_tiling"),
  *("global_batch_size_*", "micro_batch_size_*", "vocab_tiling_ag_once"),
  # Machines, and how arrays lie on them.
  *("hardware", "num_slices", "num_target_devices", "skip_jax_distributed_system", "jax_*"),
  "quantization_local_shard_count",  # that of the devices of a process
  *("ici_*", "dcn_*", "mesh_axes", "custom_mesh*", "logical_axis_rules*", "*_logical_axis_rules"),
  *("data_sharding", "context_sharding", "ulysses_context_sharding", "sharding_tolerance"),
  *("input_data_sharding_logical_axes", "shard_mode", "shard_optimizer_over_data", "shardy"),
  *("allow_split_physical_axes", "optimize_mesh_for_tpu_v6e", "debug_sharding", "check_vma"),
  *("num_diloco_replicas", "remove_size_one_mesh_axis_from_type", "enable_single_controller"),
  *("compile_*", "compiled_trainstep_file", "internal_compile*", "subslice_shape"),
  # Kernels that compute the same.
  *("attention", "megablox", "sa_*", "local_sa_*", "use_splash_scheduler", "use_tokamax_*"),
  *("use_jax_splash", "wi_tile_*", "wo_tile_*"),
  "encoder_cache",  # reads what would be computed
  # What is computed twice instead of kept, or kept on the host.
  *("remat_policy*", "*_host_offload", "tensors_on_device", "tensors_to_offload"),
  *("decoder_layer_input", "indexer_cutoff_threshold", "mlpw*", "moe_mlpw*", "moe_x_sorted"),
  *("moe_routing_maps", "query_proj", "key_proj", "value_proj", "kv_proj", "query_wa_proj"),
  *("kv_wa_proj", "qkv_proj", "out_proj", "mla_q", "mla_kv", "attention_out", "engram"),
  # When and how checkpoints are saved.
  *("checkpoint_period", "checkpoint_storage_*", "checkpoint_todelete_*", "*_checkpointing"),
  *("max_num_checkpoints_to_keep", "save_checkpoint_*", "enable_emergency_checkpoint"),
  *("local_checkpoint_*", "multi_tier_checkpointing_*", "enable_autocheckpoint"),
  *("enable_checkpoint_cloud_logger", "enable_single_replica_ckpt_restoring"),
  # Evaluation in training, decoding.
  *("eval_*", "normalizer", "early_stopping_patience", "target_eval_loss"),
  *("split", "decode_*", "max_new_tokens", "tokens_per_second", "loop_repeats"),
  *("max_tokens_per_second", "temperature", "sampling_seed", "repetition_penalty"),
  *("lm_path", "lm_weight", "lm_word_score", "hotwords", "hotword_weight"),
  *("beams", "length_penalty", "clips_per_shard", "piece_seconds", "replace_output"),
  # Limits that only end a run.
  *("max_bad_fraction", "abort_on_*"),
  # Logs, profiles and watching.
  *("verbose", "log_*", "debug_converter", "record_internal_nn_metrics", "metrics_file"),
  *("*tensorboard*", "*goodput*", "*heartbeat*", "*_for_gcp_monitoring", "*step_deviation*"),
  *("monitor_step_time_deviation", "gcs_metrics", "save_config_to_gcs", "prometheus_port"),
  *("*wandb*", "managed_mldiagnostics*", "dump_*", "*profile*", "xprof_*", "tpu_num_*"),
  *("enable_tpu_profiling_options", "enable_mllog", "mllog_file", "max_checkify"),
  *("override_model_config", "accept_changes"),
  # What follows from other keys, which count.
  *("emb_dim", "mlp_dim", "moe_mlp_dim", "num_decoder_layers", "num_kv_heads", "num_query_heads"),
  *("using_pipeline_parallelism", "pipeline_parallel_layers", "rampup_end_step"),
)

# Keys that count, but whose new value a run can take up on its way: what is saved still fits.
CHANGEABLE = (
  *("learning_rate", "learning_rate_devices", "learning_rate_final_fraction"),
  *("lr_schedule_type", "warmup_steps_fraction"),
  *("wsd_decay_steps_fraction", "wsd_decay_style", "adam_b1", "adam_b2", "adam_eps"),
  *("adam_eps_root", "adam_weight_decay", "gradient_clipping_threshold", "router_aux_loss_coef"),
  *("z_loss_multiplier", "lora_dropout", "enable_dropout", "dropout_rate", "frame_dropout"),
  *("min_seconds", "max_seconds", "min_characters", "max_characters"),
  *("min_characters_per_second", "max_characters_per_second", "curriculum"),
  *("language_in_prompt", "context", "instruction", "audio_dtype", "dtype", "matmul_precision"),
  *("speed_range", "gain_db", "noise_snr_db", "noise_probability", "rir_probability"),
  *("length_buckets", "noise_only_seconds", "spec_augment_mels", "spec_augment_frames"),
  *("data_dir", "noise_dir", "rir_dir"),  # what lies there, see checkpoint/fingerprint.py
)

# Keys that count in training alone: what a model writes does not depend on them.
TRAINING_ONLY = (
  *("learning_rate*", "lr_schedule_type", "wsd_*", "warmup_*", "opt_type", "adam*", "muon_*"),
  *("mu_dtype", "grad_dtype", "gradient_*", "skip_step_*", "trainable_parameters_mask"),
  *("*_loss_*", "*loss_coef", "z_loss_multiplier", "train_*", "enable_diloco", "diloco_*"),
  *("enable_dropout", "dropout_rate", "frame_dropout", "*_dropout_for_audio"),
  "lora_*",  # a checkpoint's
  *("embedding_init_std", "dense_init_scale", "init_weights_seed", "data_shuffle_seed"),
  *("mixture*", "min_*", "max_seconds", "max_characters*", "max_target_length"),
  *("windows_per_row", "packing_lookahead", "length_buckets", "curriculum", "spec_augment_*"),
  *("speed_range", "gain_db", "noise_*", "rir_*", "enable_data_shuffling", "dataset_*"),
  *("grain_*", "hf_*"),
  *("data_dir*", "load_parameters_path"),  # what lies there
)
# Keys of decoding that may be meant to differ from training, which is said.
OF_DECODING = ("language_in_prompt", "context", "*quant*")
# How exactly it is computed is everybody's choice.
_PRECISION = ("dtype", "weight_dtype", "matmul_precision", "activations_in_float32", "audio_dtype")

_NOT_OF_MODEL = (*HARMLESS, *TRAINING_ONLY, *_PRECISION)

# Keys that may differ between the processes of one run: what each finds on its own machine.
OF_A_MACHINE = (
  *("data_dir", "decode_input", "tokenizer_path", "noise_dir", "rir_dir", "load_parameters_path"),
  *("verbose", "log_config", "jax_cache_dir", "jax_debug_log_modules", "dump_*"),
  *("*profile*", "xprof_*", "prometheus_port", "debug_sharding"),
)

_SHOWN = 60  # characters of a value
_MISSING = "nothing"


def fingerprint_of_keys(keys: Mapping[str, Any]) -> dict[str, str]:
  """Returns the keys that define a run, with their values as text.

  Args:
    keys: of a loaded configuration, so that equal values are of equal types.
  """
  return {key: _text(_value(key, keys[key])) for key in sorted(keys) if not is_harmless(key)}


def fingerprint_of_process(keys: Mapping[str, Any]) -> dict[str, str]:
  """Returns the keys that all processes of a run must agree on, with their values as text.

  Steps and intervals count too: processes that differ about them would wait for each other.

  Args:
    keys: of `keys.settings.read`; one that is missing on a side is a difference.
  """
  return {
    key: _text(_value(key, value))
    for key, value in sorted(keys.items())
    if not _matches(key, OF_A_MACHINE)
  }


def is_harmless(key: str) -> bool:
  """Returns whether a run may resume with another value of this key."""
  return _matches(key, HARMLESS)


def is_of_model(key: str) -> bool:
  """Returns whether transcripts depend on this key (for the tokenizer: on its files)."""
  return key == "tokenizer_path" or not _matches(key, _NOT_OF_MODEL)


def is_of_decoding(key: str) -> bool:
  """Returns whether decoding may change this key from its value in training, with a note."""
  return _matches(key, OF_DECODING)


def differing_keys(
  ours: Mapping[str, str], theirs: Mapping[str, str], *, both: bool = False
) -> list[str]:
  """Lists the keys whose values differ, sorted.

  Args:
    both: compare only what both have: one of them was written by another version.
  """
  names = ours.keys() & theirs.keys() if both else ours.keys() | theirs.keys()
  return sorted(name for name in names if ours.get(name) != theirs.get(name))


def describe_differences(
  ours: Mapping[str, str],
  theirs: Mapping[str, str],
  *,
  labels: tuple[str, str] = ("is", "was"),
  keys: Collection[str] | None = None,
) -> list[str]:
  """Describes each difference: "learning_rate is 0.5, was 0.002"; long values are shortened.

  Args:
    ours, theirs: of `fingerprint_of_keys` or `fingerprint_of_process`.
    labels: what stands before the two values, such as ("is", "on process 0"); ours first.
    keys: those to describe; None: all that differ.
  """
  names = differing_keys(ours, theirs) if keys is None else keys
  return [
    f"{name} {labels[0]} {_shown(ours.get(name), theirs.get(name))},"
    f" {labels[1]} {_shown(theirs.get(name), ours.get(name))}"
    for name in names
  ]


@functools.cache
def _matches(key: str, patterns: tuple[str, ...]) -> bool:
  return any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)


def _value(key: str, value: Any) -> Any:
  """Returns what counts of a value: of a mixture all but the folders, whose contents count."""
  if key != "mixture" or not isinstance(value, list):
    return value
  # The defaults are left out, since a mixture may be written with or without them.
  return [
    {name: part for name, part in dict(entry).items() if name != "data_dir" and part != ""}
    for entry in value
  ]


def _text(value: Any) -> str:
  plain = _plain(value)
  return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False, sort_keys=True)


def _plain(value: Any) -> Any:
  """Converts a value to JSON's types; equal values give the same (30 and 30.0)."""
  match value:
    case enum.Enum():
      return _plain(value.value)
    case float() if value.is_integer():
      return int(value)
    case None | bool() | int() | float() | str():
      return value
    case Mapping():
      return {str(key): _plain(part) for key, part in value.items()}
    case list() | tuple() | set() | frozenset():
      return [_plain(part) for part in value]
  return str(value)


def _shown(value: str | None, other: str | None) -> str:
  """Shortens a value for a message, to where it begins to differ from the other."""
  if value is None:
    return _MISSING
  if len(value) <= _SHOWN:
    return value or "''"
  same = next((i for i, (a, b) in enumerate(zip(value, other or "", strict=False)) if a != b), 0)
  start = max(0, min(same - 10, len(value) - _SHOWN))
  before, after = "..." * (start > 0), "..." * (start + _SHOWN < len(value))
  return f"{before}{value[start : start + _SHOWN]}{after}"
