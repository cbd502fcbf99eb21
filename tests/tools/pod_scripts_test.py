"""The scripts of tools/ and data/ on workers of the stand-in, where maxtext-ext is one too."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from standins import running
from standins.cloud import Cloud

from tests.tools.shell_scripts import run

POD = {"TPU_NAME": "qr-v4-32", "PROJECT": "p", "BUCKET": "gs://b"}
# Notes what it is called with in the worker's home; a key `fail=N` makes it fail on worker N.
PYTHON = f"""#!{sys.executable}
import json, os, sys
if sys.argv[1] == "-c":
  sys.exit(0)
worker = os.environ["STANDIN_WORKER"].split("/")[1]
names = ("JAX_PLATFORMS", "HF_TOKEN")
call = {{"words": sys.argv[3:], **{{name: os.environ.get(name) for name in names}}}}
with open(os.environ["HOME"] + "/calls", "a") as calls:
  calls.write(json.dumps(call) + "\\n")
sys.exit(3 if f"fail={{worker}}" in sys.argv else 0)
"""


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
  """A slice of four workers that were set up."""
  made = Cloud(tmp_path / "cloud")
  made.add_slice("qr-v4-32")
  (made.folder / "tmp").mkdir()
  for worker in range(4):
    python = made.home("qr-v4-32", worker) / "venv-maxtext" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
  monkeypatch.delenv("VIRTUAL_ENV", raising=False)
  for name, value in running.environment(made).items():
    monkeypatch.setenv(name, value)
  yield made
  for worker in range(4):
    made.end_machine("qr-v4-32", worker)


def calls(cloud: Cloud, worker: int) -> list[dict[str, object]]:
  file = cloud.home("qr-v4-32", worker) / "calls"
  return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_training_runs_on_all_workers_with_the_words_as_given(cloud: Cloud):
  context = 'context=it\'s "Haifa" & $HOME, שלום\tعليكم'
  done = run("tools/train.sh", "configs/experiments/demo.yml", context, "steps=2", **POD)
  assert done.returncode == 0, done.stderr
  for worker in range(4):
    (call,) = calls(cloud, worker)
    assert call["words"][:4] == ["train", "configs/experiments/demo.yml", context, "steps=2"]
    assert (cloud.home("qr-v4-32", worker) / "train-demo" / "env_vars.sh").is_file()


def test_a_worker_that_fails_fails_the_job(cloud: Cloud):
  done = run("tools/inference_multihost.sh", "fail=2", **POD)
  assert done.returncode == 3
  assert "worker 2 ended with exit status 3" in done.stderr


def test_batches_are_decoded_on_all_workers_and_scored_on_the_first(cloud: Cloud):
  done = run("tools/run_batch_inference.sh", **POD, SPLITS="dev test")
  assert done.returncode == 0, done.stderr
  on_each = [[call["words"][0] for call in calls(cloud, worker)] for worker in range(4)]
  assert on_each == [["decode", "evaluate"] * 2, *[["decode"] * 2] * 3]


def test_conversions_run_on_the_first_worker_alone(cloud: Cloud):
  token = "hf_of_a_test"
  done = run("tools/convert_hf_to_maxtext.sh", "--dtype", "bfloat16", **POD, HF_TOKEN=token)
  assert done.returncode == 0, done.stderr
  done = run("data/convert_data.sh", **POD, SPLITS="train test", WORKERS="2")
  assert done.returncode == 0, done.stderr
  model, train, test = calls(cloud, 0)
  assert model["words"][:2] == ["convert", "to-maxtext"]
  assert (model["JAX_PLATFORMS"], model["HF_TOKEN"]) == ("cpu", token)
  for call, split in ((train, "train"), (test, "test")):
    assert call["words"] == [
      *("data", "convert", f"gs://b/tfrecord/{split}", "gs://b/grain_data_arrayrecord"),
      *("--from", "tfrecord", "--split", split, "--workers", "2"),
    ]
  assert not any(calls(cloud, worker) for worker in (1, 2, 3))
  assert token not in json.dumps(cloud.calls())


def test_a_worker_that_was_not_set_up_says_so(cloud: Cloud, tmp_path: Path):
  (cloud.home("qr-v4-32", 1) / "venv-maxtext" / "bin" / "python").unlink()
  nothing = tmp_path / "nothing"  # instead of the Python of the tests, which has the project
  nothing.mkdir()
  (nothing / "python3").write_text(
    f'#!/bin/sh\ncase "$*" in *find_spec*) exit 1 ;; *) exec {sys.executable} "$@" ;; esac\n'
  )
  (nothing / "python3").chmod(0o755)
  path = f"{nothing}:{running.environment(cloud)['PATH']}"
  done = run("tools/train.sh", **POD, PATH=path)
  assert done.returncode != 0
  assert "worker 1" in done.stderr
  assert "error: the project is not installed here" in done.stdout + done.stderr
  assert "setup/setup_tpu_worker.sh" in done.stdout + done.stderr


def test_a_slice_is_requested_waited_for_and_deleted(cloud: Cloud):
  def queued_resource(*arguments: str) -> str:
    done = run("tools/queued_resource.sh", *arguments, PROJECT="p", TPU_NAME="new", SPOT="true")
    assert done.returncode == 0, done.stderr
    return done.stdout

  queued_resource("create")
  queued_resource("wait", "--POLL_SECS=0.1")
  assert queued_resource("describe") == "new ACTIVE\nnew READY, HEALTHY\n"
  with cloud.state() as state:
    assert state["nodes"]["new"]["acceleratorType"] == "v4-32"
  assert any("--spot" in call for call in cloud.calls())
  queued_resource("delete")
  done = run("tools/queued_resource.sh", "describe", PROJECT="p", TPU_NAME="new")
  assert done.returncode == 1
