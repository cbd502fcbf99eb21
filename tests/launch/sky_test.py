"""The task of SkyPilot, held against SkyPilot's own class where that is installed."""

import json

import pytest
import yaml

CONFIG = "configs/experiments/arabic_omni_v4_32.yml"
CASES = {
  "slice": ["steps=3"],
  "spot": ["--spot", "--zone", "us-central2-b"],
  "other slice": ["--accelerator", "v5e-16"],
  "gpu": ["--accelerator", "H100:8", "--restarts", "0"],
  "gpu in a zone": ["--accelerator", "A100-80GB", "--zone", "us-central1-a"],
  "decode": ["--task", "decode", "split=test", "output=gs://b/decoded"],
  "secrets": ["--secret", "HF_TOKEN", "--secret", "WANDB_API_KEY"],
}
# Reads a command and the tasks; starts nothing.
READ = """
import json, os, sys, yaml
from sky.client.cli.command import jobs_launch
from sky.task import Task
os.environ["HF_TOKEN"] = "of this environment"
asked = json.load(open(sys.argv[1]))
read = {"command": jobs_launch.make_context("launch", asked["command"]).params}
for name, text in asked["tasks"].items():
  task = Task.from_yaml_config(yaml.safe_load(text))
  (resources,) = task.resources
  read[name] = {
    "run": task.run, "setup": task.setup, "cloud": str(resources.cloud), "zone": resources.zone,
    "accelerators": resources.accelerators, "args": resources.accelerator_args,
    "spot": resources.use_spot, "recovery": resources.job_recovery, "nodes": task.num_nodes,
    "secrets": [reference.name for reference in task.managed_secret_refs],
  }
print(json.dumps(read, default=str))
"""


@pytest.fixture
def tasks(launch, monkeypatch):
  """The text of each case."""
  monkeypatch.setenv("ZONE", "us-central2-b")  # of the TPUs, by env_vars.sh; no GPU is there
  monkeypatch.setenv("HF_TOKEN", "hf_secret_value")
  monkeypatch.setenv("WANDB_API_KEY", "wandb_secret_value")
  texts = {}
  for name, options in CASES.items():
    status, texts[name], err = launch("sky", CONFIG, *options, "--dry-run")
    assert status == 0, err
    assert "secret_value" not in texts[name] + err
  return texts


def test_a_slice_is_asked_for_by_a_queued_resource(tasks):
  task = yaml.safe_load(tasks["slice"])
  assert task["workdir"] == "."
  assert task["resources"] == {
    "infra": "gcp/us-central2/us-central2-b",
    "accelerators": "tpu-v4-32",
    "accelerator_args": {
      "tpu_vm": True,
      "runtime_version": "tpu-ubuntu2204-base",
      "gcp_queued_resource": True,
    },
    "use_spot": False,
    "job_recovery": {"max_restarts_on_errors": 3, "recover_on_exit_codes": [42]},
  }
  assert task["setup"] == "bash setup/setup_tpu_worker.sh --skip-doctor"
  assert task["run"] == f"~/venv-maxtext/bin/maxtext-ext train {CONFIG} steps=3"
  assert task["secrets"] == {"HF_TOKEN": None}


def test_a_gpu_is_asked_for_on_any_cloud(tasks):
  task = yaml.safe_load(tasks["gpu"])
  assert task["resources"]["accelerators"] == "H100:8"
  assert not {"infra", "accelerator_args"} & task["resources"].keys()
  assert "setup_cuda_worker.sh" in task["setup"]


@pytest.mark.parametrize("accelerator", ["v4-32", "H100:1"])
def test_what_is_no_zone_is_refused(launch, accelerator):
  options = ["--accelerator", accelerator, "--zone", "us-central2"]
  status, out, err = launch("sky", CONFIG, *options, "--dry-run")
  assert (status, out) == (2, "")
  assert "--zone 'us-central2': expected a zone of Google Cloud, such as us-central2-b" in err


@pytest.mark.engines
def test_skypilot_reads_command_and_tasks_as_they_are_meant(tasks, launch, engine, tmp_path):
  _, _, err = launch("sky", CONFIG, "--name", "a-run", "--dry-run")
  command = err.splitlines()[-1].partition(": sky jobs launch ")[2].split()
  (tmp_path / "asked.json").write_text(json.dumps({"command": command, "tasks": tasks}))
  finished = engine("python", "-c", READ, str(tmp_path / "asked.json"))
  assert finished.returncode == 0, finished.stderr
  read = json.loads(finished.stdout.splitlines()[-1])
  assert (
    read["command"].items()
    >= {
      "entrypoint": ["out/launch/a-run.sky.yml"],
      "name": "a-run",
      "yes": True,
    }.items()
  )
  assert read["command"]["secret"] == [["HF_TOKEN", "of this environment"]]
  for name, text in tasks.items():
    task = yaml.safe_load(text)
    assert read[name]["run"] == task["run"]
    assert read[name]["setup"] == task["setup"]
    assert read[name]["nodes"] == 1
    recovery = task["resources"]["job_recovery"]
    assert recovery.items() <= read[name]["recovery"].items()
    assert read[name]["secrets"] == list(task.get("secrets", {}))
  assert read["slice"]["accelerators"] == {"tpu-v4-32": 1}
  assert read["slice"]["args"]["gcp_queued_resource"] is True
  assert (read["slice"]["cloud"], read["slice"]["zone"]) == ("GCP", "us-central2-b")
  assert (read["slice"]["spot"], read["spot"]["spot"]) == (False, True)
  assert read["other slice"]["accelerators"] == {"tpu-v5litepod-16": 1}
  assert read["gpu"]["accelerators"] == {"H100": 8}
  assert read["gpu in a zone"]["zone"] == "us-central1-a"
  assert read["secrets"]["secrets"] == ["HF_TOKEN", "WANDB_API_KEY"]
