"""The shipped experiments: what they promise, and that each trains when its model is made small."""

import pathlib

import pytest

from maxtext_ext import bridge
from maxtext_ext.config import load
from maxtext_ext.input.buckets import rows_of, windows_of
from maxtext_ext.input.config import InputConfig
from maxtext_ext.prepare import arabic, hebrew
from maxtext_ext.text.alphabet import Alphabet
from maxtext_ext.train.loop import main
from tests import tiny
from tests.models.mixture_test import MIXTURE

FOLDER = pathlib.Path(__file__).parents[2] / "configs" / "experiments"
TINY = (
  *tiny.SHAPE,
  "base_num_decoder_layers=1",
  "encoder_layers_for_audio=1",
  "max_target_length=128",
  "windows_per_row=1",
  "max_seconds=4",
  "enable_checkpointing=false",
  "eval_interval=-1",  # also after the last step
)
SMALL = {
  "hebrew_lora": ("model_name=qwen3-asr-tiny",),
  "hebrew_full": ("model_name=qwen3-asr-tiny",),
  "arabic_omni_v4_32": MIXTURE,
  "qwen3_asr_cuda": ("model_name=qwen3-asr-tiny",),
}


def promised(name: str) -> bridge.Config:
  """An experiment as it is shipped, but for the weights, which are not here."""
  return load(str(FOLDER / f"{name}.yml"), ["load_parameters_path="])


def sources(name: str) -> dict[str, str]:
  return {entry["name"]: entry["data_dir"] for entry in promised(name).mixture}


def test_hebrew_lora_is_the_published_recipe():
  config = promised("hebrew_lora")
  assert (config.lora_rank, config.lora_alpha) == (16, 32)
  assert config.lora_targets == ["attention", "ffn"]
  assert (config.learning_rate, config.epochs) == (2e-4, 3)
  assert (config.min_seconds, config.max_seconds, config.data_shuffle_seed) == (0.5, 30, 42)
  full = promised("hebrew_full")
  assert (full.lora_rank, full.learning_rate, full.epochs) == (0, 2e-5, 3)


@pytest.mark.parametrize(
  ("name", "recipe", "folder"),
  [("hebrew_lora", hebrew, "corpora/hebrew"), ("arabic_omni_v4_32", arabic, "corpora/arabic")],
)
def test_the_data_are_those_that_the_scripts_prepare(name, recipe, folder):
  assert sources(name) == {source.name: f"{folder}/{source.name}" for source in recipe.SOURCES}


@pytest.mark.parametrize(
  ("name", "chips"), [("hebrew_lora", 4), ("hebrew_full", 4), ("qwen3_asr_cuda", 1)]
)
def test_a_step_is_16_rows_of_16_clips(name, chips):
  config = promised(name)
  assert config.max_target_length == 2048
  assert chips * config.per_device_batch_size * config.gradient_accumulation_steps == 16


@pytest.mark.parametrize("name", ["lmu_single", "lmu_multi"])
def test_lmu_models_write_english_letters_in_batches_of_equal_seconds(name):
  config = promised(name)
  assert Alphabet.from_directory(config.tokenizer_path).vocab_size == config.vocab_size == 29
  inputs = InputConfig.from_config(config, split="train", rows=config.per_device_batch_size)
  rows = {s: rows_of(inputs, windows_of(inputs, s)) for s in (5.0, 20.0)}
  assert rows == {5.0: 63, 20.0: 16}, "of 63 and 250 windows of 80 ms"
  assert config.gradient_clipping_threshold == 10
  assert config.learning_rate_devices == (name == "lmu_multi")


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_each_trains_a_step(name, tmp_path):
  keys = [key for key in tiny.make_run(tmp_path, train=16) if not key.startswith("data_dir=")]
  data = tmp_path / "data"
  if names := [entry["name"] for entry in promised(name).mixture]:
    entries = ", ".join(f"{{name: {name}, data_dir: '{data}'}}" for name in names)
    keys.append(f"mixture=[{entries}]")
  else:
    keys.append(f"data_dir={data}")
  keys += ["load_parameters_path=", *TINY, *SMALL[name], "steps=1", "epochs=0"]
  result = main(str(FOLDER / f"{name}.yml"), keys)
  assert result.steps == 1 and 0 < result.loss < 10
  assert pathlib.Path(result.run_dir).name == name
