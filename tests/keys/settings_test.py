"""Order of the sources, and one clear line for whatever is wrong, without MaxText."""

import os
import subprocess
import sys

import pytest

from maxtext_ext.keys.settings import read, refuse_repeats
from maxtext_ext.keys.values import ConfigError
from tests.config_test import DEMO, write


@pytest.fixture
def experiment(tmp_path):
  base = os.path.abspath("configs/speech.yml")
  return write(
    tmp_path / "mine" / "run7.yml",
    f"base_config: {base}\nmodel_name: qwen3-asr-tiny\nhead_dim: 16\nsteps: 7\n",
  )


def test_order_of_the_sources(experiment, monkeypatch):
  base = read(experiment)
  assert base.packing_lookahead == 512  # speech.yml
  assert base.base_emb_dim == 128  # the model's yml, found from any folder
  assert base.head_dim == 16  # the experiment wins over the model
  assert base.steps == 7
  assert read(experiment, ["head_dim=8", "steps=9"]).head_dim == 8  # the command line over both
  monkeypatch.setenv("M_HEAD_DIM", "64")
  monkeypatch.setenv("M_MAX_SECONDS", "12.5")
  from_env = read(experiment)
  assert (from_env.head_dim, from_env.max_seconds) == (64, 12.5)
  monkeypatch.setenv("M_MODEL_NAME", "qwen3-asr-0.6b")
  assert read(experiment).base_emb_dim == 1024


def test_reading_needs_neither_jax_nor_maxtext():
  script = (
    "import sys\n"
    "from maxtext_ext import preflight\n"
    "from maxtext_ext.keys.settings import read\n"
    f"read({DEMO!r}, ['steps=3'])\n"
    "print([name for name in ('jax', 'maxtext', 'flax', 'grain') if name in sys.modules])"
  )
  command = [sys.executable, "-c", script]
  finished = subprocess.run(command, capture_output=True, text=True, check=True)
  assert finished.stdout == "[]\n"


LITERAL = {
  "data_dir": ("/x/data #1", " /x ", "gs://b/x", "[a]", "a: b", "~", "none", "{x: 1}"),
  "context": ("Names: Cohen, Levi", "null", "none", "${oc.env:HOME}", "'quoted'", "שלום: #1", "-"),
  "run_name": ("007", "1e3", "true", "2024-01-01", "1_000", "0x10", "12:30"),
  "output": ("~", "${data_dir}", ""),
}


@pytest.mark.parametrize(
  ("key", "text"), [(k, text) for k, texts in LITERAL.items() for text in texts]
)
def test_a_text_key_takes_its_text(key, text, tmp_path, monkeypatch):
  assert getattr(read(DEMO, [f"{key}={text}"]), key) == text
  assert getattr(read(DEMO, {key: text}), key) == text
  quoted = text.replace("'", "''")
  file = f"base_config: {os.path.abspath('configs/speech.yml')}\n{key}: '{quoted}'\n"
  assert getattr(read(write(tmp_path / "a.yml", file)), key) == text
  monkeypatch.setenv(f"M_{key.upper()}", text)
  assert getattr(read(DEMO), key) == text


def test_a_text_in_a_file_needs_no_quotes_and_null_is_no_text(tmp_path):
  base = f"base_config: {os.path.abspath('configs/speech.yml')}\n"
  keys = "run_name: 007\ndecode_checkpoint: 2\ncontext: null\noutput:\nlora_targets: [no, 007]\n"
  settings = read(write(tmp_path / "a.yml", base + keys))
  assert (settings.run_name, settings.decode_checkpoint) == ("007", "2")
  assert (settings.context, settings.output) == ("", "")
  assert settings.lora_targets == ["no", "007"]


TYPED = {
  "steps=1e3": 1000,
  "steps=1_000": 1000,
  "steps=010": 10,
  "learning_rate=1e-4": 1e-4,
  "per_device_batch_size=2": 2,
  "verbose=yes": True,
  "async_checkpointing=OFF": False,
  "max_num_checkpoints_to_keep=none": None,
  "decode_checkpoint=2": "2",
  "decode_checkpoint=latest": "latest",
  "lora_targets=attention": ["attention"],
  "lora_targets=[yes, 007]": ["yes", "007"],
  "adamw_mask=['/(scale|bias)(/|$)']": ["/(scale|bias)(/|$)"],
  "train_parts={projector: 1e-3}": {"projector": 1e-3},
  "curriculum=[[0.18, 1], [0.30, 2]]": [(0.18, 1), (0.3, 2)],
  "speed_range=[0.9, 1.1]": (0.9, 1.1),
  "mixture=[{name: 007, data_dir: '/x #1'}]": [
    {"name": "007", "data_dir": "/x #1", "split": "", "weight": 1.0}
  ],
  "dtype=float32": "float32",
  "quantization=": "",
}


@pytest.mark.parametrize("override", TYPED)
def test_a_value_has_the_type_of_its_key(override):
  value = getattr(read(DEMO, [override]), override.partition("=")[0])
  assert value == TYPED[override]
  assert type(value) is type(TYPED[override])


WRONG = {
  "stpes=5": "the command line: unknown key stpes; did you mean steps?",
  "steps": "expected key=value",
  "steps=many": "the command line: steps: got 'many', expected a whole number from 1",
  "steps=": "steps: got '', expected a whole number",
  "steps=1.5": "steps: got '1.5', expected a whole number",
  "steps=0": "steps: got '0', expected a whole number from 1",
  "steps=-1": "steps: got '-1'",
  "steps=nan": "steps: got 'nan'",
  "steps=1e30": "steps: got '1e30'",
  "steps=[1]": "steps: got '[1]'",
  "steps=true": "steps: got 'true'",
  "checkpoint_period=0": "checkpoint_period: got '0', expected a whole number from 1",
  "log_period=0": "log_period: got '0'",
  "max_num_checkpoints_to_keep=0": "expected a whole number from 1 to 1000000000, or none",
  "eval_interval=-2": "eval_interval: got '-2', expected a whole number from -1",
  "gradient_accumulation_steps=0": "gradient_accumulation_steps: got '0'",
  "max_target_length=0": "max_target_length: got '0'",
  "vocab_size=-3": "vocab_size: got '-3'",
  "per_device_batch_size=0": "per_device_batch_size: got '0', expected a whole number from 1",
  "per_device_batch_size=1.5": "per_device_batch_size: got '1.5'",
  "num_slices=0": "num_slices: expected -1, or at least 1 (got 0)",
  "ici_fsdp_parallelism=0": "ici_fsdp_parallelism: expected -1, or at least 1 (got 0)",
  "num_experts_per_tok=3": "num_experts_per_tok=3, expected at most num_experts=1",
  "encoder=small": "encoder: Input should be a valid dictionary (got 'small')",
  "attention=fast": "attention: got 'fast', expected one of 'autoselected', 'dot_product'",
  "remat_policy=some": "remat_policy: got 'some', expected one of 'none', 'full'",
  "opt_type=muon": "opt_type: got 'muon', expected one of 'adamw'",
  "adamw_mask=['((']": "is no regular expression: missing )",
  "trainable_parameters_mask=[x]": "give train_parts or lora_rank instead",
  "logical_axis_rules=mlp": "logical_axis_rules: got 'mlp', expected pairs",
  "logical_axis_rules=[[mlp]]": "logical_axis_rules: got [['mlp']], expected pairs",
  "run_name=..": "run_name: expected the name of a folder in base_output_directory (got '..')",
  "run_name=/x": "run_name: expected the name of a folder",
  "learning_rate=nan": "learning_rate: got 'nan', expected a number of at least 0",
  "learning_rate=-1e-3": "learning_rate: got '-1e-3'",
  "learning_rate=inf": "learning_rate: got 'inf'",
  "warmup_steps_fraction=1.5": "warmup_steps_fraction: got '1.5', expected a number from 0 to 1",
  "learning_rate_schedule_steps=0": "learning_rate_schedule_steps: expected -1, or at least 1",
  "adam_b2=1": "adam_b2: got '1', expected a number of at least 0 below 1",
  "adam_eps=0": "adam_eps: got '0', expected a number above 0",
  "adam_weight_decay=-1": "adam_weight_decay: got '-1'",
  "muon_beta=nan": "muon_beta: got 'nan', expected a number",
  "max_seconds=-1": "max_seconds: got '-1', expected a number above 0",
  "data_shuffle_seed=-1": "data_shuffle_seed: got '-1'",
  "verbose=maybe": "verbose: got 'maybe', expected true or false",
  "audio_dtype=float64": "audio_dtype: got 'float64', expected one of 'float32', 'int16'",
  "dtype=bf16": "dtype: got 'bf16', expected one of 'float32', 'bfloat16', 'float16'",
  "mu_dtype=float31": "mu_dtype: got 'float31'",
  "hardware=TPU": "hardware: got 'TPU', expected one of 'auto', 'tpu'",
  "lr_schedule_type=linear": "lr_schedule_type: got 'linear', expected one of 'cosine', 'wsd'",
  "decode_checkpoint=Best": "decode_checkpoint: expected best, latest, base, untrained, a step",
  "context=caf\udce9": "context: expected UTF-8, and byte 0xe9 is not",
  "decode_checkpoint=-1": "decode_checkpoint: expected best",
  "normalizer=greek": "unknown normalizer 'greek'; expected one of none",
  "lora_targets=[a": "lora_targets: not yaml",
  "train_parts=projector": "train_parts: Input should be a valid dictionary (got 'projector')",
  "train_parts={projector: nan}": "train_parts.projector",
  "mixture=[{nam: a}]": "mixture.0.name: a value is missing",
  "speed_range=[0.9]": "speed_range.1: a value is missing",
  "early_stopping_patience=3": "give eval_interval and eval_clips above 0",
  "attention=cudnn_flash_jax": "keep the clips of a row apart",
  "checkpoint_dir=/x": "checkpoint_dir follows from other keys and cannot be given",
  "base_config=x.yml": "base_config follows from other keys",
  "base_output_directory=": "base_output_directory",
  "model_name=checkpoints/x": "convert to-maxtext SOURCE checkpoints/x",
  "model_name=qwen9": "no models/qwen9.yml; known here: lmu-ctc",
}


@pytest.mark.parametrize("override", WRONG)
def test_a_wrong_override_is_one_line(override):
  with pytest.raises(ConfigError) as caught:
    read(DEMO, [override, "eval_interval=-1"] if "patience" in override else [override])
  assert WRONG[override] in str(caught.value)
  assert "\n" not in str(caught.value)


def test_values_of_a_program_are_checked_too():
  settings = read(DEMO, {"steps": 3, "verbose": True, "curriculum": [], "context": None})
  assert (settings.steps, settings.verbose, settings.context) == (3, True, "")
  for key, value in {"steps": True, "learning_rate": float("nan"), "context": [1]}.items():
    with pytest.raises(ConfigError, match=f"the given keys: {key}: got"):
      read(DEMO, {key: value})


@pytest.mark.parametrize(
  ("name", "said"),
  [
    ("M_LERANING_RATE", "did you mean M_LEARNING_RATE"),
    ("M_Steps", "did you mean M_STEPS"),
    ("M_BASE_EMB_DIMS", "did you mean M_BASE_EMB_DIM"),
  ],
)
def test_a_variable_that_is_nearly_a_key_is_refused(monkeypatch, name, said):
  monkeypatch.setenv(name, "1")
  with pytest.raises(ConfigError, match=said):
    read(DEMO)


def test_a_variable_of_another_program_passes_with_a_warning(monkeypatch, caplog):
  monkeypatch.setenv("M_ARCHITECTURE_OF_MINE", "1")
  monkeypatch.setenv("M_USE_QK_NORM", "true")  # a key that is MaxText's alone
  with caplog.at_level("WARNING", "maxtext_ext"):
    assert read(DEMO).use_qk_norm
    read(DEMO)
  assert [r.getMessage() for r in caplog.records] == [
    "M_ARCHITECTURE_OF_MINE in the environment is no key of the configuration: ignored"
  ]


def test_a_wrong_value_in_the_environment_names_the_variable(monkeypatch):
  monkeypatch.setenv("M_STEPS", "5x")
  with pytest.raises(ConfigError, match="M_STEPS in the environment: steps: got '5x'"):
    read(DEMO)


def test_same_key_on_command_line_and_in_environment(monkeypatch):
  monkeypatch.setenv("M_STEPS", "5")
  with pytest.raises(ConfigError, match="give it once"):
    read(DEMO, ["steps=6"])


def test_a_person_gives_a_key_once():
  refuse_repeats(["steps=6", "run_name=x", "steps=6"])
  with pytest.raises(ConfigError, match="steps=6 and steps=7: give steps once"):
    refuse_repeats(["steps=6", "steps=7"])
  assert read(DEMO, ["steps=6", "steps=7"]).steps == 7  # a program may add to a list


@pytest.mark.parametrize(
  ("keys", "env", "expected"),
  [
    ([], {}, (3.0, 1000)),
    (["steps=7"], {}, (0.0, 7)),
    (["steps=7", "epochs=2"], {}, (2.0, 7)),
    ([], {"M_STEPS": "7"}, (0.0, 7)),
    ([], {"M_STEPS": "7", "M_EPOCHS": "2"}, (2.0, 7)),
  ],
  ids=str,
)
def test_steps_count_where_they_are_said_after_epochs(tmp_path, monkeypatch, keys, env, expected):
  base = os.path.abspath("configs/speech.yml")
  path = write(
    tmp_path / "run.yml", f"base_config: {base}\nmodel_name: qwen3-asr-tiny\nepochs: 3\n"
  )
  for key, value in env.items():
    monkeypatch.setenv(key, value)
  settings = read(path, keys)
  assert (settings.epochs, settings.steps) == expected


def test_name_of_the_run_is_the_files(experiment):
  assert read(experiment).run_name == "run7"
  assert read(experiment, ["run_name=other"]).run_name == "other"
  assert read(experiment, ["run_name="]).run_name == "run7"


def test_kernel_of_experts_is_that_of_the_hardware(monkeypatch):
  found = {h: read(DEMO, [f"hardware={h}"]).megablox for h in ("tpu", "gpu", "cpu")}
  assert found == {"tpu": True, "gpu": False, "cpu": False}
  assert read(DEMO, ["hardware=cpu", "megablox=true"]).megablox, "asked for, it is used"
  monkeypatch.setenv("JAX_PLATFORMS", "cuda")
  assert read(DEMO).hardware == "gpu"
  assert read(DEMO, ["hardware=auto"]).hardware == "gpu"


def test_compiled_programs_are_kept_where_jax_is_told_or_in_the_users_cache(monkeypatch, tmp_path):
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/programs")
  assert read(DEMO).jax_cache_dir == "/programs"
  monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  assert read(DEMO).jax_cache_dir == str(tmp_path / "maxtext_ext" / "jax")
  monkeypatch.delenv("XDG_CACHE_HOME")
  assert read(DEMO).jax_cache_dir == os.path.expanduser("~/.cache/maxtext_ext/jax")
  assert read(DEMO, ["jax_cache_dir=mine"]).jax_cache_dir == "mine"
  assert read(DEMO, ["jax_cache_dir="]).jax_cache_dir == ""


def test_sharding_rules_of_the_command_line_go_before_the_files():
  rules = read(DEMO, ["logical_axis_rules=[[mlp, [fsdp]], [mine, []]]"]).logical_axis_rules
  assert rules[-2:] == [["mlp", ["fsdp"]], ["mine", []]]
  assert [rule[0] for rule in rules].count("mlp") == 1
  assert len(rules) > 50
  only = ["logical_axis_rules=[[mlp, [fsdp]]]", "override_logical_axis_rules=true"]
  assert read(DEMO, only).logical_axis_rules == [["mlp", ["fsdp"]]]
