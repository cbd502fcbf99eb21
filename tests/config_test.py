"""MaxText's reading of the keys, once `keys` has read them."""

import os
import pathlib

import pytest

from maxtext_ext.checkpoint.training import with_base_weights
from maxtext_ext.config import ConfigError, SpeechConfig, load
from maxtext_ext.keys import yml
from maxtext_ext.keys.machine import xla_flags
from maxtext_ext.keys.settings import kinds, read
from maxtext_ext.keys.speech import SpeechKeys
from maxtext_ext.keys.training import TrainingKeys

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


def test_every_key_is_as_it_was_read():
  overrides = ["context=${oc.env:HOME} #1", "run_name=007", "output=~", "data_dir=none"]
  overrides += ["max_num_checkpoints_to_keep=none", "steps=1e3", "adamw_mask=[a]"]
  settings, config = read(DEMO, overrides), load(DEMO, overrides)
  assert (config.context, config.run_name) == ("${oc.env:HOME} #1", "007")
  loaded = config._pydantic_config.model_dump()
  changed = {key for key in SpeechKeys.model_fields if loaded[key] != settings.values[key]}
  assert changed == {"learning_rate_schedule_steps", "mu_dtype", "num_slices"}, "worked out"
  mine = load(DEMO, ["logical_axis_rules=[[mlp, [fsdp]]]", "use_qk_norm=no"])
  assert mine.logical_axis_rules[-1] == ("mlp", ("fsdp",))
  assert not mine.use_qk_norm


def test_keys_are_declared_once_and_narrowed_without_a_change_of_default():
  assert set(kinds()) == set(SpeechConfig.model_fields)
  from maxtext_ext import bridge

  for name, field in TrainingKeys.model_fields.items():
    theirs = bridge.MaxTextConfig.model_fields[name]
    assert name == "hardware" or field.default == theirs.get_default(call_default_factory=True), (
      name
    )
  assert issubclass(SpeechConfig, SpeechKeys)


def test_programs_are_written_down_only_when_that_is_asked_for(experiment, monkeypatch, tmp_path):
  monkeypatch.setenv("XLA_FLAGS", "")
  load(experiment)
  assert os.environ["XLA_FLAGS"] == xla_flags("cpu")
  monkeypatch.setenv("XLA_FLAGS", "")
  load(experiment, ["dump_hlo=true", f"dump_hlo_local_dir={tmp_path}"])
  assert os.environ["XLA_FLAGS"].startswith(f"--xla_dump_to={tmp_path}")


def test_name_of_the_run_is_the_files(experiment):
  assert load(experiment).run_name == "run7"
  assert load(experiment).checkpoint_dir == "out/runs/run7/checkpoints/"


def test_no_recomputation_is_a_word_for_the_decoder_too(experiment):
  """MaxText reads it as None, and then recomputes everything."""
  assert load(experiment, ["remat_policy=none"]).remat_policy == "none"


def test_shipped_configurations_load():
  for path in yml.experiments():
    # An experiment on a converted checkpoint says what is missing until it is there.
    converted = {"finetune": "qwen3-asr-0.6b", "whisper_minimal": "whisper-lm-tiny"}
    shape = [f"model_name={converted[name]}" for name in converted if name in path]
    encoder = pathlib.Path(path).stem.split("_")[0]
    expected = encoder if encoder in ("lmu", "whisper") else "qwen3_audio"
    assert load(path, [*shape, "load_parameters_path="]).speech_encoder == expected
  for name in ("qwen3-asr-0.6b", "qwen3-asr-1.7b", "qwen3-omni-30b-a3b"):
    assert load(DEMO, [f"model_name={name}"]).output_dim_for_audio in (1024, 2048)


def test_omni_is_ours_and_not_maxtexts_of_the_same_name():
  omni = load(DEMO, ["model_name=qwen3-omni-30b-a3b"])
  assert (omni.num_experts, omni.num_experts_per_tok, omni.moe_mlp_dim) == (128, 8, 768)
  assert not (omni.use_multimodal or omni.use_audio or omni.use_mrope)
  assert omni.capacity_factor < 0, "no token is dropped"


def test_a_value_that_maxtext_refuses_is_one_line():
  with pytest.raises(ConfigError, match="Invalid WSD schedule") as caught:
    load(DEMO, ["warmup_steps_fraction=0.9", "wsd_decay_steps_fraction=0.9"])
  assert "\n" not in str(caught.value)


def test_a_folder_beside_the_weights_is_a_model(tmp_path, experiment):
  model = tmp_path / "converted"
  file = write(model / "model.yml", "base_emb_dim: 48\nhead_dim: 24\n")
  for name in (model, file):
    config = load("configs/speech.yml", [f"model_name={name}"])
    assert (config.emb_dim, config.head_dim, config.tokenizer_path) == (48, 24, str(model))
  assert load(experiment, [f"model_name={model}"]).head_dim == 16, "the experiment wins"
  mine = load("configs/speech.yml", {"model_name": str(model), "tokenizer_path": "mine"})
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
  config = with_base_weights(load(DEMO, [f"load_parameters_path={tmp_path / given}"]))
  assert config.load_parameters_path == str(tmp_path / found)


def test_weights_that_are_not_there_are_one_line(tmp_path):
  with pytest.raises(ValueError, match="no checkpoint there"):
    with_base_weights(load(DEMO, [f"load_parameters_path={tmp_path / 'gone'}"]))
