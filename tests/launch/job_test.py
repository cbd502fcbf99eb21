"""Checks before a job is described."""

import os
import pathlib
import subprocess
import sys

import pytest

from maxtext_ext.launch.job import find_root, read_job

ROOT = pathlib.Path(__file__).parents[2]
DEMO = "configs/experiments/demo.yml"


@pytest.fixture
def inside():
  """A path for a file of the checkout, which is removed."""
  path = ROOT / "configs" / f"test-{os.getpid()}.yml"
  yield path
  path.unlink(missing_ok=True)


def test_the_command_is_safe_in_a_shell():
  job = read_job("decode", DEMO, ["split=test", "context=a b'c", "output=gs://b/o"], "")
  assert (
    job.command() == "~/venv-maxtext/bin/maxtext-ext decode configs/experiments/demo.yml split=test"
    """ 'context=a b'"'"'c' output=gs://b/o"""
  )


def test_the_path_of_the_configuration_is_the_one_in_the_checkout(monkeypatch, inside, tmp_path):
  inside.write_text("base_config: speech.yml\nmodel_name: qwen3-asr-0.6b\n")
  for folder, path in ((tmp_path, str(inside)), (ROOT / "configs", inside.name)):
    monkeypatch.chdir(folder)
    job = read_job("train", path, [], "")
    assert job.config == f"configs/{inside.name}"
    assert job.config_files == ("configs/speech.yml", job.config)
  monkeypatch.chdir(tmp_path)
  assert read_job("train", DEMO, [], "").config == DEMO


def test_folders_and_models_may_be_on_the_job_s_machine_alone():
  keys = ["model_name=gs://bucket/model", "data_dir=gs://bucket/data", "run_name=Run_7"]
  keys += ["tokenizer_path=gs://bucket/tokenizer"]
  job = read_job("train", "configs/experiments/finetune.yml", keys, "")
  assert job.name == "run-7"
  assert job.local_places() == [
    "load_parameters_path=checkpoints/qwen3-asr",
    "base_output_directory=out/runs",
  ]


def test_keys_in_the_environment_go_along(monkeypatch):
  monkeypatch.setenv("M_STEPS", "12")
  job = read_job("train", DEMO, ["learning_rate=1e-5"], "")
  assert job.overrides == ("learning_rate=1e-5", "steps=12")


def test_no_token_is_written_into_a_file_or_a_command(monkeypatch):
  with pytest.raises(ValueError, match="hf_access_token would be written down; export HF_TOKEN"):
    read_job("train", DEMO, ["hf_access_token=hf_of_a_user"], "")
  monkeypatch.setenv("M_HF_ACCESS_TOKEN", "hf_of_a_user")
  with pytest.raises(ValueError, match="hf_access_token would be written down"):
    read_job("train", DEMO, [], "")
  monkeypatch.delenv("M_HF_ACCESS_TOKEN")
  monkeypatch.setenv("WANDB_API_KEY", "wandb_of_a_user")
  with pytest.raises(ValueError, match="context holds the value of WANDB_API_KEY") as raised:
    read_job("train", DEMO, ["context=my wandb_of_a_user"], "")
  assert "wandb_of_a_user" not in str(raised.value)


def outside(tmp_path):
  path = tmp_path / "mine.yml"
  path.write_text(f"base_config: {ROOT}/configs/speech.yml\n")
  return str(path)


WRONG = {
  "unknown key": (lambda _: (DEMO, ["stepz=1"], ""), "unknown key stepz; did you mean steps?"),
  "a key twice": (lambda _: (DEMO, ["steps=1", "steps=2"], ""), "give steps once"),
  "no file": (lambda _: ("configs/gone.yml", [], ""), "configs/gone.yml not found"),
  "elsewhere": (lambda tmp: (outside(tmp), [], ""), "what the job gets: copy it to configs/"),
  "name": (lambda _: (DEMO, [], "My_Run"), "--name 'My_Run': expected .* such as my-run"),
  "long name": (lambda _: (DEMO, [], "a" * 41), "up to 40 lower-case letters"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_the_job_could_not_use_is_refused(case, tmp_path):
  make, expected = WRONG[case]
  config, overrides, name = make(tmp_path)
  with pytest.raises(ValueError, match=expected):
    read_job("train", config, overrides, name)


def test_a_configuration_that_git_ignores_is_refused(tmp_path):
  folder = ROOT / "out" / f"test-{os.getpid()}"
  folder.mkdir(parents=True)
  try:
    (folder / "mine.yml").write_text(f"base_config: {ROOT}/configs/speech.yml\n")
    with pytest.raises(ValueError, match="is ignored by git, so the job does not get it"):
      read_job("train", str(folder / "mine.yml"), [], "")
  finally:
    (folder / "mine.yml").unlink()
    folder.rmdir()


@pytest.mark.parametrize("text", ["7", "Ünïcode-run", "a" * 60, "--"])
def test_any_run_name_gives_a_name_that_engines_take(text):
  name = read_job("train", DEMO, [f"run_name={text}"], "").name
  assert read_job("train", DEMO, [], name).name == name


def test_an_installation_without_a_checkout_is_told_so(monkeypatch, tmp_path):
  monkeypatch.setattr(
    "maxtext_ext.launch.job.__file__", str(tmp_path / "maxtext_ext/launch/job.py")
  )
  with pytest.raises(ValueError, match="clone the repository, run"):
    find_root()


@pytest.mark.parametrize("args", [["launch", "--help"], ["launch", "hf", DEMO, "--dry-run"]])
def test_answers_without_a_heavy_import(args):
  heavy = ("jax", "maxtext", "numpy", "ray", "sky", "xpk", "transformers", "grain")
  script = (
    "import sys\nfrom maxtext_ext.cli import main\n"
    "try:\n  main(sys.argv[1:])\nexcept SystemExit:\n  pass\n"
    f"print('heavy:', [name for name in {heavy!r} if name in sys.modules])"
  )
  finished = subprocess.run(
    [sys.executable, "-c", script, *args], cwd=ROOT, capture_output=True, text=True, check=True
  )
  assert finished.stdout.splitlines()[-1] == "heavy: []"
