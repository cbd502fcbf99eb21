"""The scripts of tools/ and data/: what they resolve, what they would run, how they refuse."""

import os
import pathlib
import shlex
import subprocess

import pytest

from tests.tools.shell_scripts import ROOT, SETTINGS, run

POD = {"TPU_NAME": "qr-v4-32", "PROJECT": "p", "BUCKET": "gs://b"}
HERE = {"BUCKET": ""}
TRAIN, DECODE = "tools/train.sh", "tools/inference_multihost.sh"
BATCH = "tools/run_batch_inference.sh"
MODEL, DATA = "tools/convert_hf_to_maxtext.sh", "data/convert_data.sh"
QUEUE = "tools/queued_resource.sh"
SCRIPTS = (TRAIN, DECODE, BATCH, MODEL, DATA, QUEUE)
DEMO = "configs/experiments/demo.yml"
OMNI = "configs/experiments/arabic_omni_v4_32.yml"


def commands(script: str, *arguments: str, **environment: str) -> list[list[str]]:
  """The commands that a script would run, as words."""
  done = run(script, *arguments, "--dry-run", **environment)
  assert done.returncode == 0, done.stderr
  found = done.stdout.split("\ncommand: ")[1:]
  if script == DATA:  # says more behind each
    found = [text.partition("\n")[0] for text in found]
  return [shlex.split(text) for text in found]


def on_pod(script: str, *arguments: str, **environment: str) -> dict[str, str]:
  """The flags of the runner that a script would start."""
  ((python, runner, *flags),) = commands(script, *arguments, **POD | environment)
  assert (python, runner) == ("python3", str(ROOT / "tools/orchestration/multihost_runner.py"))
  return dict(flag.removeprefix("--").split("=", 1) for flag in flags if "=" in flag)


def settings(**environment: str) -> dict[str, str]:
  """Variables that env_vars.sh exports."""
  script = f"source {shlex.quote(str(ROOT / 'env_vars.sh'))} && env -0"
  done = subprocess.run(
    ["bash", "-euc", script], env=environment, capture_output=True, text=True, check=True
  )
  found = dict(entry.split("=", 1) for entry in done.stdout.split("\0") if entry)
  return {name: found[name] for name in SETTINGS}


def test_settings_are_exports_that_the_environment_overrides():
  lines = (ROOT / "env_vars.sh").read_text().splitlines()
  assert all(not line or line.startswith(("#", "export ")) for line in lines)
  wanted = {name: f"my {name}" for name in SETTINGS}
  assert settings(**wanted) == wanted


def test_settings_of_the_experiment():
  found = settings(BUCKET="gs://b")
  assert found == settings(BUCKET="b") | {"BUCKET": "gs://b"}
  assert found["ZONE"] == "us-central2-b"
  assert (found["ACCELERATOR_TYPE"], found["RUNTIME_VERSION"]) == ("v4-32", "tpu-ubuntu2204-base")
  assert found["DATA_DIR"] == "gs://b/grain_data_arrayrecord"
  assert found["CHECKPOINT_DIR"] == "gs://b/checkpoints"
  assert (ROOT / found["CONFIG"]).is_file()
  assert found["TPU_NAME"] == "", "without a name everything runs here"
  assert settings(TPU_PREFIX="qr")["TPU_NAME"] == "qr"


@pytest.mark.parametrize("script", SCRIPTS)
def test_help(script):
  done = run(script, "--help", **POD)
  assert done.returncode == 0
  assert done.stdout.startswith(f"usage: {script}")
  assert "--dry-run" in done.stdout
  assert "env_vars.sh" in done.stdout


def test_training_here_is_what_the_configuration_says():
  assert commands(TRAIN, DEMO, "steps=2", **HERE) == [["maxtext-ext", "train", DEMO, "steps=2"]]
  assert commands(TRAIN, **HERE) == [["maxtext-ext", "train", OMNI]]


def test_training_on_a_pod():
  flags = on_pod(TRAIN, "steps=2")
  assert flags["TPU_PREFIX"] == "qr-v4-32"
  assert (flags["PROJECT"], flags["ZONE"]) == ("p", "us-central2-b")
  assert (flags["INTERNAL_IP"], flags["SCRIPT_DIR"]) == ("true", str(ROOT))
  assert flags["RUN_NAME"] == "train-arabic_omni_v4_32"
  assert "WORKER" not in flags and "SETUP_COMMAND" not in flags
  model = "gs://b/checkpoints/qwen3-omni-30b-a3b"
  assert shlex.split(flags["COMMAND"]) == [
    *("bash", "tools/shell/on_worker.sh", "train", OMNI, "steps=2"),
    "base_output_directory=gs://b/checkpoints",
    *(f"model_name={model}", f"tokenizer_path={model}", f"load_parameters_path={model}"),
    *("data_dir=gs://b/grain_data_arrayrecord", "mixture=[]"),
  ]


@pytest.mark.parametrize(
  "key",
  ['context=it\'s "Haifa", שלום עליكم', "context=$HOME `id` \\ * ~ !", "context=two\nlines"],
)
def test_words_arrive_unharmed(key):
  flags = on_pod(TRAIN, key)
  assert key in shlex.split(flags["COMMAND"])


def test_keys_of_the_command_line_win():
  mine = ("base_output_directory=out", "data_dir=d", "model_name=m", "run_name=r")
  words = shlex.split(on_pod(TRAIN, DEMO, *mine, RUN_NAME="other")["COMMAND"])
  assert words == ["bash", "tools/shell/on_worker.sh", "train", DEMO, *mine]


def test_names_of_jobs_are_plain():
  flags = on_pod(TRAIN, RUN_NAME="my run/שלום")
  assert flags["RUN_NAME"].startswith("train-my-run--")
  assert flags["RUN_NAME"].isascii()
  assert "run_name=my run/שלום" in shlex.split(flags["COMMAND"])


def test_flags_of_the_runner_are_passed_on():
  arguments = ("--restarts", "3", "--preemptions=7", "--detach", "--TIMEOUT_SECS=60")
  ((*_, command),) = commands(TRAIN, *arguments, **POD)
  words = commands(TRAIN, *arguments, **POD)[0]
  assert {"--restarts=3", "--preemptions=7", "--detach", "--TIMEOUT_SECS=60"} <= set(words)
  assert "--SETUP_COMMAND=bash setup/setup_tpu_worker.sh --skip-doctor" in words
  assert command.startswith("--COMMAND=")


def test_a_token_reaches_the_pod_on_no_command_line():
  done = run(MODEL, "--dry-run", **POD, HF_TOKEN="hf_secret")
  assert "--ENV=HF_TOKEN" in done.stdout
  assert "hf_secret" not in done.stdout + done.stderr


def test_decoding():
  assert commands(DECODE, DEMO, **HERE) == [["maxtext-ext", "decode", DEMO, "split=test"]]
  words = shlex.split(on_pod(DECODE, "split=dev")["COMMAND"])
  assert words[:4] == ["bash", "tools/shell/on_worker.sh", "decode", OMNI]
  assert "split=dev" in words and "split=test" not in words
  calls = "decode_input=gs://x/calls"
  assert commands(DECODE, DEMO, calls, **HERE) == [["maxtext-ext", "decode", DEMO, calls]]
  words = shlex.split(on_pod(DECODE, calls, "output=gs://x/text")["COMMAND"])
  assert {calls, "output=gs://x/text"} <= set(words)
  assert not any(word.startswith(("split=", "data_dir=", "mixture=")) for word in words)


def test_batches_here():
  out = "out/runs/demo/decoded"
  assert commands(BATCH, DEMO, **HERE, SPLITS="dev test") == [
    ["maxtext-ext", "decode", DEMO, "split=dev", f"output={out}/dev"],
    ["maxtext-ext", "evaluate", f"{out}/dev", "--report", f"{out}/dev.html"],
    ["maxtext-ext", "decode", DEMO, "split=test", f"output={out}/test"],
    ["maxtext-ext", "evaluate", f"{out}/test", "--report", f"{out}/test.html"],
  ]


def test_batches_on_a_pod():
  flags = on_pod(BATCH, "--data=gs://x/a", "--data=gs://x/b", SPLITS="test")
  decoded = "gs://b/checkpoints/arabic_omni_v4_32/decoded"
  decode_a, evaluate_a, decode_b, evaluate_b = flags["COMMAND"].split(" && ")
  for corpus, decode, evaluate in (("a", decode_a, evaluate_a), ("b", decode_b, evaluate_b)):
    words = shlex.split(decode)
    assert words[:3] == ["bash", "tools/shell/on_worker.sh", "decode"]
    assert {f"data_dir=gs://x/{corpus}", "mixture=[]", f"output={decoded}/{corpus}/test"} <= {
      *words
    }
    assert evaluate == (
      f"bash tools/shell/on_worker.sh --first evaluate {decoded}/{corpus}/test"
      f" --report {decoded}/{corpus}/test.html"
    )


def test_conversion_of_a_model():
  assert commands(MODEL, "a/b", "out", "--no-scan-layers", **HERE) == [
    ["maxtext-ext", "convert", "to-maxtext", "a/b", "out", "--no-scan-layers"]
  ]
  flags = on_pod(MODEL, "--dtype", "bfloat16")
  assert (flags["WORKER"], flags["RUN_NAME"]) == ("0", "convert-qwen3-omni-30b-a3b")
  assert shlex.split(flags["COMMAND"]) == [
    *("JAX_PLATFORMS=cpu", "bash", "tools/shell/on_worker.sh", "convert", "to-maxtext"),
    *("Qwen/Qwen3-Omni-30B-A3B-Instruct", "gs://b/checkpoints/qwen3-omni-30b-a3b"),
    *("--dtype", "bfloat16"),
  ]


def test_conversion_of_a_corpus():
  words = commands(DATA, "gs://a/", "gs://c", "--audio", "pcm16", **HERE, WORKERS="3", SPLITS="dev")
  assert words == [
    [
      *("maxtext-ext", "data", "convert", "gs://a/dev", "gs://c", "--from", "tfrecord"),
      *("--split", "dev", "--workers", "3", "--audio", "pcm16"),
    ]
  ]
  flags = on_pod(DATA, "--language", "Arabic", SPLITS="train dev", FORMAT="jsonl")
  assert flags["WORKER"] == "0"
  assert shlex.split(flags["COMMAND"]) == [
    *("env", "TPU_NAME=", "FORMAT=jsonl", "SPLITS=train dev", "WORKERS="),
    *("bash", "data/convert_data.sh", "gs://b/tfrecord", "gs://b/grain_data_arrayrecord"),
    *("--language", "Arabic"),
  ]


def test_queued_resources():
  runner = ["python3", str(ROOT / "tools/orchestration/queued_resource.py")]
  place = ["--PROJECT=p", "--ZONE=us-central2-b"]
  ((*words,),) = commands(QUEUE, "create", SPOT="true", PROJECT="p")
  assert words == [
    *(*runner, "create", "qr-v4-32", *place),
    *("--ACCELERATOR_TYPE=v4-32", "--RUNTIME_VERSION=tpu-ubuntu2204-base", "--SPOT=true"),
  ]
  ((*words,),) = commands(QUEUE, "wait", "--QUEUE_TIMEOUT_SECS=60", **POD | {"TPU_NAME": "mine"})
  assert words == [*runner, "wait", "mine", *place, "--QUEUE_TIMEOUT_SECS=60"]
  ((*words,),) = commands(QUEUE, "delete", "other", **POD)
  assert words == [*runner, "delete", "other", *place]


@pytest.mark.parametrize(
  ("script", "arguments", "environment", "said"),
  [
    (TRAIN, ["--no-such"], {}, "error: --no-such: expected CONFIG.yml, KEY=VALUE or an option"),
    (TRAIN, ["--restarts"], POD, "error: --restarts=--dry-run: expected a number"),
    (TRAIN, ["--preemptions=many"], POD, "error: --preemptions=many: expected a number"),
    (TRAIN, ["--detach"], {}, "error: --detach is for a pod: export TPU_NAME=NAME"),
    (TRAIN, ["none.yml"], POD, "error: none.yml: no such file below"),
    (TRAIN, [], {"BUCKET": "gs://b/"}, "error: BUCKET=gs://b/: expected no slash at its end"),
    (BATCH, ["split=test"], {}, "error: split=...: give SPLITS and OUTPUT_DIR"),
    (BATCH, ["decode_input=a"], {}, "error: decode_input=...: use tools/inference_multihost.sh"),
    (BATCH, ["--data"], {}, "error: --data: expected --data=DIR"),
    (BATCH, ["--data=a", "data_dir=b"], {}, "error: --data and data_dir=...: give one"),
    (MODEL, ["a/b"], {}, "usage: "),
    (MODEL, [], {"MODEL_NAME": ""}, "error: MODEL_NAME is empty: give SOURCE and OUT"),
    (DATA, [], {}, "usage: "),
    (DATA, ["gs://a"], POD, "usage: "),
    (QUEUE, [], POD, "usage: "),
    (QUEUE, ["remove"], POD, "usage: "),
    (QUEUE, ["wait", "a", "b"], POD, "error: b: expected one NAME"),
  ],
)
def test_mistakes_are_one_line(script, arguments, environment, said):
  done = run(script, *arguments, "--dry-run", **environment)
  assert done.returncode == 2
  assert done.stderr.startswith(said)
  assert said == "usage: " or len(done.stderr.splitlines()) == 1


def test_a_configuration_that_git_does_not_track_reaches_no_worker(tmp_path):
  mine = ROOT / "configs" / f"untracked-{os.getpid()}.yml"
  mine.write_text("base_config: speech.yml\n")
  try:
    done = run(TRAIN, str(mine), "--dry-run", **POD)
  finally:
    mine.unlink()
  assert done.returncode == 2
  assert f"git does not track it, so no worker gets it: git add configs/{mine.name}" in done.stderr


def test_a_configuration_may_be_named_from_any_folder():
  done = run(TRAIN, "demo.yml", "--dry-run", cwd=ROOT / "configs" / "experiments", **POD)
  assert f"config: {DEMO}" in done.stdout.splitlines()


def test_a_pod_without_a_bucket_is_told():
  done = run(TRAIN, "--dry-run", TPU_NAME="qr")
  assert done.returncode == 0
  assert "note: each worker has its own folder for the run: set BUCKET" in done.stderr


def test_without_an_installation_it_says_what_to_do(tmp_path):
  (tmp_path / "python3").write_text("#!/bin/sh\nexit 1\n")
  (tmp_path / "python3").chmod(0o755)
  for tool in ("bash", "dirname", "env", "basename"):
    (tmp_path / tool).symlink_to(pathlib.Path("/usr/bin") / tool)
  copy = tmp_path / "copy"
  copy.mkdir()
  for name in ("env_vars.sh", "tools"):
    (copy / name).symlink_to(ROOT / name)
  done = subprocess.run(
    ["bash", copy / "tools" / "shell" / "on_worker.sh", "train"],
    env={"PATH": str(tmp_path), "HOME": str(tmp_path)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode != 0
  assert "error: the project is not installed here: run setup/install.sh" in done.stderr
