"""MaxText's command names: speech is ours, text is handed to MaxText's own trainer."""

import os
import pathlib
import subprocess
import sys

import pytest

from maxtext_ext.compat.MaxText import decode, train
from maxtext_ext.keys.values import ConfigError
from tests.train.processes import ROOT, environment

TEXT_KEYS = [
  "model_name=qwen3-0.6b",
  "override_model_config=true",
  "hardware=cpu",
  "skip_jax_distributed_system=true",
  "base_emb_dim=16",
  "base_mlp_dim=32",
  "base_num_decoder_layers=1",
  "base_num_query_heads=2",
  "base_num_kv_heads=1",
  "head_dim=8",
  "vocab_size=64",
  "dataset_type=synthetic",
  "steps=2",
  "per_device_batch_size=1",
  "max_target_length=16",
  "attention=dot_product",
  "enable_checkpointing=false",
  "enable_goodput_recording=false",
  "monitor_goodput=false",
  "enable_tensorboard=false",
  "gcs_metrics=false",
]


def run(module: str, *args: str, cwd: pathlib.Path = ROOT) -> subprocess.CompletedProcess:
  command = [sys.executable, "-m", module, *args]
  return subprocess.run(command, env=environment(), cwd=cwd, capture_output=True, text=True)


@pytest.mark.integration_test
@pytest.mark.slow
def test_a_text_only_configuration_is_trained_by_maxtext(tmp_path):
  config = tmp_path / "text.yml"
  config.write_text("base_config: base.yml\n")
  keys = [*TEXT_KEYS, f"base_output_directory={tmp_path}", f"metrics_file={tmp_path / 'm.txt'}"]
  finished = run("MaxText.train", str(config), *keys)
  assert finished.returncode == 0, finished.stderr
  # MaxText's own metric names; ours are called otherwise.
  assert (tmp_path / "m.txt").read_text().count("learning/total_weights") == 2


WRONG = {
  "missing file": (["gone.yml"], "error: configuration file gone.yml not found (looked in {cwd})"),
  "wrong type": (
    ["configs/experiments/demo.yml", "steps=x"],
    "error: the command line: steps: got 'x'",
  ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_one_line_and_a_non_zero_exit_from_any_folder(case, tmp_path):
  args, expected = WRONG[case]
  finished = run("MaxText.train", *args, cwd=tmp_path)
  assert finished.returncode == 2
  assert expected.replace("{cwd}", os.fspath(tmp_path)) in finished.stderr
  assert len(finished.stderr.strip().splitlines()) == 1, finished.stderr


def test_decode_needs_a_configuration():
  finished = run("MaxText.decode", "steps=3")
  assert finished.returncode == 2
  assert finished.stderr.startswith("error: MaxText.decode: give a yml file first")


@pytest.mark.parametrize("module", [train, decode], ids=["train", "decode"])
def test_main_raises_what_its_caller_has_to_know(module):
  with pytest.raises(ConfigError, match="unknown key stepz"):
    module.main(["MaxText", "configs/experiments/demo.yml", "stepz=1"])


@pytest.mark.parametrize("task", ["train", "decode"])
def test_a_command_reads_each_file_once(task, monkeypatch):
  from maxtext_ext import preflight
  from maxtext_ext.compat import dispatch
  from maxtext_ext.decode import decode as decoding
  from maxtext_ext.train import loop

  read, ran = [], []
  read_bytes = pathlib.Path.read_bytes

  def counted(path: pathlib.Path) -> bytes:
    read.append(path.name)
    return read_bytes(path)

  monkeypatch.setattr(pathlib.Path, "read_bytes", counted)
  for name in ("check_training", "check_decoding"):
    monkeypatch.setattr(preflight, name, lambda settings: None)
  monkeypatch.setattr(loop, "run", lambda settings: ran.append(settings) or Finished())
  monkeypatch.setattr(decoding, "run", ran.append)
  getattr(dispatch, task)(["maxtext-ext", "configs/experiments/demo.yml", "steps=3"])
  assert ran[0].steps == 3
  assert sorted(read) == ["base.yml", "demo.yml", "qwen3-asr-tiny.yml", "speech.yml"]


class Finished:
  """A training that is done."""

  status = 0
