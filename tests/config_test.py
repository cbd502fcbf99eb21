"""Order of the sources, and one clear line for whatever is wrong."""

import os

import pytest

from maxtext_ext import config as config_lib
from maxtext_ext.config import ConfigError, given, is_speech, load

DEMO = "configs/experiments/demo.yml"


def write(path, text):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text, encoding="utf-8")
  return str(path)


@pytest.fixture
def experiment(tmp_path):
  base = os.path.abspath("configs/speech.yml")
  return write(
    tmp_path / "mine" / "run7.yml",
    f"base_config: {base}\nmodel_name: qwen3-asr-tiny\nhead_dim: 16\nsteps: 7\n",
  )


def test_order_of_the_sources(experiment, monkeypatch):
  base = load(experiment)
  assert base.packing_lookahead == 512  # speech.yml
  assert base.emb_dim == 128  # the model's yml, found from any folder
  assert base.head_dim == 16  # the experiment wins over the model
  assert base.steps == 7
  assert load(experiment, ["head_dim=8", "steps=9"]).head_dim == 8  # the command line over both
  monkeypatch.setenv("M_HEAD_DIM", "64")
  monkeypatch.setenv("M_MAX_SECONDS", "12.5")
  from_env = load(experiment)
  assert (from_env.head_dim, from_env.max_seconds) == (64, 12.5)


def test_what_is_given_is_known_before_the_devices_are(experiment, monkeypatch):
  monkeypatch.setenv("JAX_PLATFORMS", "cuda")
  monkeypatch.setenv("M_EPOCHS", "2")
  keys = given(experiment, ["checkpoint_period=3"])
  names = ("steps", "checkpoint_period", "epochs", "hardware", "skip_jax_distributed_system")
  assert [keys[name] for name in names] == [7, 3, "2", "gpu", False]
  with pytest.raises(ConfigError, match="the command line: unknown key stepz; did you mean steps"):
    given(experiment, ["stepz=1"])


def test_programs_are_written_down_only_when_that_is_asked_for(experiment, monkeypatch, tmp_path):
  monkeypatch.setenv("XLA_FLAGS", "")
  load(experiment)
  assert os.environ["XLA_FLAGS"] == "--xla_dump_to="
  monkeypatch.setenv("XLA_FLAGS", "")
  load(experiment, ["dump_hlo=true", f"dump_hlo_local_dir={tmp_path}"])
  assert os.environ["XLA_FLAGS"].startswith(f"--xla_dump_to={tmp_path}")


def test_environment_variable_chooses_the_model(experiment, monkeypatch):
  monkeypatch.setenv("M_MODEL_NAME", "qwen3-asr-0.6b")
  assert load(experiment).emb_dim == 1024


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
  config = load(path, keys)
  assert (config.epochs, config.steps) == expected


def test_name_of_the_run_is_the_files(experiment):
  assert load(experiment).run_name == "run7"
  assert load(experiment, ["run_name=other"]).run_name == "other"
  assert load(experiment).checkpoint_dir == "out/runs/run7/checkpoints/"


def test_no_recomputation_is_a_word_for_the_decoder_too(experiment):
  """MaxText reads it as None, and then recomputes everything."""
  assert load(experiment, ["remat_policy=none"]).remat_policy == "none"


def test_shipped_configurations_load():
  for path in config_lib._experiments():
    # An experiment on a converted checkpoint says what is missing until it is there.
    shape = ["model_name=qwen3-asr-0.6b"] if "finetune" in path else []
    assert load(path, [*shape, "load_parameters_path=''"]).speech_encoder == "qwen3_audio"
  for name in ("qwen3-asr-0.6b", "qwen3-asr-1.7b", "qwen3-omni-30b-a3b"):
    assert load(DEMO, [f"model_name={name}"]).output_dim_for_audio in (1024, 2048)


def test_omni_is_ours_and_not_maxtexts_of_the_same_name():
  omni = load(DEMO, ["model_name=qwen3-omni-30b-a3b"])
  assert (omni.num_experts, omni.num_experts_per_tok, omni.moe_mlp_dim) == (128, 8, 768)
  assert not (omni.use_multimodal or omni.use_audio or omni.use_mrope)
  assert omni.capacity_factor < 0, "no token is dropped"


def test_kernel_of_experts_is_that_of_the_hardware():
  found = {h: load(DEMO, [f"hardware={h}"]).megablox for h in ("tpu", "gpu", "cpu")}
  assert found == {"tpu": True, "gpu": False, "cpu": False}
  assert load(DEMO, ["hardware=cpu", "megablox=true"]).megablox, "asked for, it is used"


WRONG = {
  "unknown key": (["stpes=5"], "unknown key stpes; did you mean steps?"),
  "wrong type": (["steps=many"], "steps: Input should be a valid integer"),
  "wrong choice": (["audio_dtype=float64"], "audio_dtype: Input should be 'float32' or 'int16'"),
  "out of range": (["max_seconds=-1"], "max_seconds: Input should be greater than 0"),
  "unknown normalizer": (["normalizer=greek"], "unknown normalizer 'greek'; expected one of none"),
  "nothing to lose patience with": (
    ["early_stopping_patience=3", "eval_interval=-1"],
    "give eval_interval and eval_clips above 0",
  ),
  "a kernel that mixes clips": (["attention=cudnn_flash_jax"], "keep the clips of a row apart"),
  "no equals sign": (["steps"], "expected key=value"),
  "no converted model": (["model_name=checkpoints/x"], "convert to-maxtext SOURCE checkpoints/x"),
  "unknown model": (["model_name=qwen9"], "no models/qwen9.yml; known here: qwen3-asr-0.6b"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_override_is_one_line(case):
  overrides, expected = WRONG[case]
  with pytest.raises(ConfigError) as caught:
    load(DEMO, overrides)
  assert expected in str(caught.value)
  assert "\n" not in str(caught.value)


BAD_FILES = {
  "no base": ("steps: 5\n", "sets no speech_encoder"),
  "base not found": ("base_config: nowhere.yml\n", "base_config nowhere.yml not found"),
  "unknown key": ("base_config: {base}\nstep: 5\n", "unknown key step; did you mean steps?"),
  "not yaml": ("steps: [1,\n", "is not yaml"),
  "a list": ("- steps\n", "holds a list"),
  "stands on itself": ("base_config: bad.yml\n", "stands on itself"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_file_is_one_line(case, tmp_path):
  text, expected = BAD_FILES[case]
  path = write(tmp_path / "bad.yml", text.replace("{base}", os.path.abspath("configs/speech.yml")))
  with pytest.raises(ConfigError, match=expected) as caught:
    load(path)
  assert "\n" not in str(caught.value)


def test_missing_file_names_what_there_is():
  with pytest.raises(ConfigError, match=r"gone.yml not found .* configs/experiments/demo.yml"):
    load("gone.yml")


def test_same_key_on_command_line_and_in_environment(monkeypatch):
  monkeypatch.setenv("M_STEPS", "5")
  with pytest.raises(ConfigError, match="give it once"):
    load(DEMO, ["steps=6"])


def test_package_configs_are_found_from_any_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert load(DEMO).emb_dim == 128


def test_speech_is_told_from_text(tmp_path):
  assert is_speech(DEMO)
  assert not is_speech(write(tmp_path / "text.yml", "base_config: base.yml\nsteps: 1\n"))


def test_a_folder_beside_the_weights_is_a_model(tmp_path, experiment):
  model = tmp_path / "converted"
  file = write(model / "model.yml", "base_emb_dim: 48\nhead_dim: 24\n")
  for name in (model, file):
    config = load("configs/speech.yml", [f"model_name={name}"])
    assert (config.emb_dim, config.head_dim, config.tokenizer_path) == (48, 24, str(model))
  assert load(experiment, [f"model_name={model}"]).head_dim == 16, "the experiment wins"
  mine = load("configs/speech.yml", [f"model_name={model}", "tokenizer_path=mine"])
  assert mine.tokenizer_path == "mine"


@pytest.mark.parametrize(
  ("given", "found"),
  [
    ("run", "run/checkpoints/12/items"),
    ("run/checkpoints", "run/checkpoints/12/items"),
    ("run/checkpoints/9", "run/checkpoints/9/items"),
    ("run/checkpoints/9/items", "run/checkpoints/9/items"),
  ],
)
def test_weights_are_found_in_what_holds_them(tmp_path, given, found):
  for step in (9, 12):
    write(tmp_path / f"run/checkpoints/{step}/_CHECKPOINT_METADATA", '{"item_handlers": {}}')
    write(tmp_path / f"run/checkpoints/{step}/items/_METADATA", "")
  config = load(DEMO, [f"load_parameters_path={tmp_path / given}"])
  assert config.load_parameters_path == str(tmp_path / found)


def test_weights_that_are_not_there_are_one_line(tmp_path):
  with pytest.raises(ValueError, match="no checkpoint there"):
    load(DEMO, [f"load_parameters_path={tmp_path / 'gone'}"])
