"""The boundary to MaxText, and the contract: what we rely on is there, in the form we call it."""

import ast
import inspect
import pathlib

import jax
import pytest

import maxtext_ext
from maxtext_ext import bridge

PACKAGE = pathlib.Path(maxtext_ext.__file__).parent
ROOT = PACKAGE.parent


def assigned_attributes(source: str, aliases: set[str]) -> list[str]:
  """Assignments to attributes of names in `aliases`: `alias.x = ...` or setattr(alias, ...)."""
  found = []
  for node in ast.walk(ast.parse(source)):
    targets = node.targets if isinstance(node, ast.Assign) else []
    for target in targets:
      if isinstance(target, ast.Attribute) and ast.unparse(target.value).split(".")[0] in aliases:
        found.append(ast.unparse(target))
    is_setattr = isinstance(node, ast.Call) and ast.unparse(node.func) == "setattr"
    if is_setattr and ast.unparse(node.args[0]).split(".")[0] in aliases:
      found.append(ast.unparse(node))
  return found


def test_no_attribute_of_maxtext_is_replaced():
  aliases = {"bridge", "pyconfig", "types", "maxtext_utils", "train_utils", "sharding", "maxtext"}
  assert assigned_attributes("bridge.x = 1\nsetattr(types.A, 'b', 2)", aliases) == [
    "bridge.x",
    "setattr(types.A, 'b', 2)",
  ]
  for file in PACKAGE.rglob("*.py"):
    assert assigned_attributes(file.read_text("utf-8"), aliases) == [], file


SIGNATURES = {
  bridge.pyconfig._initialize_pydantic: ("argv", "config_class", "kwargs"),
  bridge.maxtext_utils.get_mesh_from_config: ("config", "devices"),
  bridge.maxtext_utils.setup_training_state: (
    "data_iterator",
    "config",
    "mesh",
    "checkpoint_manager",
    "init_state_fn",
  ),
  bridge.maxtext_utils.get_abstract_state: ("config", "mesh", "init_state_fn", "is_training"),
  bridge.maxtext_utils.apply_gradient_clipping: ("raw_grads", "state", "clipping_threshold"),
  bridge.train_utils.create_training_optimizer: ("config", "model", "mesh"),
  bridge.gcs_utils.mkdir_and_check_permissions: ("path",),
  bridge.train_utils.jit_train_and_eval_step: (
    "config",
    "model",
    "mesh",
    "state",
    "state_mesh_shardings",
    "train_step",
    "eval_step",
    "eval_data_iterator",
    "params_shardings",
  ),
  bridge.sharding.get_input_data_sharding: ("config", "mesh", "rules"),
  bridge.sharding.maybe_update_params_sharding_with_opt: ("config", "state_mesh_shardings"),
  bridge.checkpointing.load_params_from_path: (
    "load_parameters_from_path",
    "abstract_unboxed_params",
    "checkpoint_storage_concurrent_gb",
    "use_ocdbt",
    "use_zarr3",
    "enable_single_replica_ckpt_restoring",
  ),
  bridge.checkpointing._linen_items_to_nnx: ("restored_linen", "abstract_nnx_state"),
  bridge.to_checkpoint_dict: ("state",),
  bridge.Transformer.__init__: ("self", "config", "mesh", "quant", "model_mode", "rngs"),
}


@pytest.mark.parametrize("function", SIGNATURES, ids=lambda f: f.__qualname__)
def test_signature(function):
  assert tuple(inspect.signature(function).parameters) == SIGNATURES[function]


def test_decoder_takes_complete_embeddings_and_returns_hidden_states_second():
  from maxtext.layers.nnx_decoders import NNXDecoder

  parameters = inspect.signature(NNXDecoder.__call__).parameters
  assert {
    "shared_embedding",
    "decoder_input_tokens",
    "decoder_input_embeddings",
    "decoder_positions",
    "decoder_segment_ids",
    "deterministic",
    "model_mode",
  } <= set(parameters)
  assert "logits, hidden_state, kv_cache" in inspect.getsource(NNXDecoder.__call__)


KEYS = [
  "base_emb_dim",
  "base_mlp_dim",
  "base_num_decoder_layers",
  "base_num_query_heads",
  "base_num_kv_heads",
  "head_dim",
  "vocab_size",
  "decoder_block",
  "use_qk_norm",
  "logits_via_embedding",
  "normalize_embedding_logits",
  "num_mel_bins_for_audio",
  "d_model_for_audio",
  "encoder_layers_for_audio",
  "encoder_attention_heads_for_audio",
  "encoder_ffn_dim_for_audio",
  "downsample_hidden_size_for_audio",
  "output_dim_for_audio",
  "steps",
  "learning_rate",
  "lr_schedule_type",
  "wsd_decay_steps_fraction",
  "wsd_decay_style",
  "warmup_steps_fraction",
  "learning_rate_final_fraction",
  "adam_b2",
  "adam_weight_decay",
  "adamw_mask",
  "gradient_clipping_threshold",
  "gradient_accumulation_steps",
  "eval_interval",
  "checkpoint_period",
  "max_num_checkpoints_to_keep",
  "async_checkpointing",
  "enable_checkpointing",
  "enable_tensorboard",
  "enable_dropout",
  "per_device_batch_size",
  "max_target_length",
  "max_prefill_predict_length",
  "load_parameters_path",
  "tokenizer_path",
  "train_split",
  "eval_split",
  "run_name",
  "base_output_directory",
  "hardware",
  "skip_jax_distributed_system",
  "override_model_config",
  "init_weights_seed",
  "data_shuffle_seed",
  "remat_policy",
  "scan_layers",
  "attention",
  "dtype",
  "weight_dtype",
]


@pytest.mark.parametrize("key", KEYS)
def test_key_is_maxtexts(key):
  assert key in bridge.MaxTextConfig.model_fields


def test_wsd_schedule_warms_up_holds_and_decays():
  from maxtext_ext.config import load

  config = load("configs/experiments/demo.yml", ["steps=1000", "learning_rate=1.0"])
  schedule, _ = bridge.make_optimizer(config, bridge.make_mesh(config))
  assert float(schedule(0)) == 0.0
  assert float(schedule(200)) == 1.0
  assert 0.019 < float(schedule(999)) < 0.03


def test_a_mesh_that_the_devices_do_not_make_is_one_line():
  from maxtext_ext.config import load

  config = load(
    "configs/experiments/demo.yml", ["ici_fsdp_parallelism=1", "ici_data_parallelism=7"]
  )
  with pytest.raises(ValueError, match=r"ici_.*_parallelism and dcn_") as caught:
    bridge.make_mesh(config)
  assert "\n" not in str(caught.value)


@pytest.mark.cpu_only
def test_hardware_that_is_not_here_is_refused():
  from maxtext_ext.config import load

  for hardware, extra in (("tpu", "tpu"), ("gpu", "cuda12")):
    config = load("configs/experiments/demo.yml", [f"hardware={hardware}"])
    with pytest.raises(ValueError, match=f"hardware={hardware}, and JAX runs on cpu.* {extra}"):
      bridge.make_mesh(config)


def test_programs_are_kept_in_the_folder_that_is_asked_for_last(tmp_path):
  before = jax.config.jax_compilation_cache_dir
  try:
    for folder in (tmp_path / "first", tmp_path / "second", ""):
      bridge._keep_programs(str(folder))
      jax.jit(lambda x: x + 1)(1.0)
  finally:
    bridge._keep_programs(before)
  assert {path.parent.name for path in tmp_path.rglob("*-cache")} == {"first", "second"}
