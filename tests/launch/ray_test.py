"""The entry for Ray Train, built by Ray itself where that is installed."""

import json

import pytest

CONFIG = "configs/experiments/arabic_omni_v4_32.yml"
CASES = {
  "slice": ["base_output_directory=gs://b/runs", "context=a \"b\" 'c' \\d"],
  "one host": ["--accelerator", "v5e-8", "--restarts", "0"],
  "large": ["--accelerator", "v6e-64"],
  "gpu": ["--accelerator", "H100:8"],
  "decode": ["--task", "decode", "split=test"],
}
# Builds the trainer, without a cluster to run it on.
BUILD = """
import json, sys
from ray.train.v2.jax import JaxTrainer
built = []
JaxTrainer.fit = lambda trainer: built.append(trainer)
read = {}
for name, text in json.load(open(sys.argv[1])).items():
  exec(compile(text, name, "exec"), {"__name__": "__main__"})
  trainer = built.pop()
  scaling, run = trainer.scaling_config, trainer.run_config
  read[name] = {
    "argv": trainer.train_loop_config["argv"], "workers": scaling.num_workers,
    "resources": scaling.resources_per_worker, "topology": scaling.topology,
    "type": scaling.accelerator_type, "tpu": scaling.use_tpu, "gpu": scaling.use_gpu,
    "failures": run.failure_config.max_failures, "name": run.name, "storage": run.storage_path,
    "backend": trainer.backend_config.to_dict(),
  }
print(json.dumps(read))
"""


@pytest.fixture
def entries(launch, monkeypatch):
  """The text of each case."""
  monkeypatch.delenv("RAY_ADDRESS", raising=False)
  texts = {}
  for name, options in CASES.items():
    status, texts[name], err = launch("ray", CONFIG, *options, "--dry-run")
    assert status == 0, err
  return texts


def test_an_entry_is_python_that_runs_the_command_s_main(entries):
  for name, text in entries.items():
    compile(text, name, "exec")
    module = "decode" if name == "decode" else "train"
    assert f"from maxtext_ext.compat.MaxText.{module} import main" in text


def test_the_entry_goes_along_with_the_checkout(launch):
  _, out, err = launch("ray", CONFIG, "--address", "http://head:8265", "--dry-run")
  expected = (
    "ray job submit --address http://head:8265 --working-dir . -- python3 arabic_omni_v4_32_ray.py"
  )
  assert expected in out
  assert err.splitlines()[-1].endswith(expected)


@pytest.mark.parametrize(("asked", "known"), [("A100-80GB:4", "A100"), ("h100", "H100")])
def test_a_gpu_has_the_name_that_ray_gives_it(launch, asked, known):
  _, out, _ = launch("ray", CONFIG, "--accelerator", asked, "--dry-run")
  assert f'accelerator_type="{known}"' in out


def test_a_file_that_ray_would_not_send_is_refused(launch, tmp_path):
  status, _, err = launch("ray", CONFIG, "--output", str(tmp_path / "x.py"), "--dry-run")
  assert status == 2
  assert "name a file in it" in err


@pytest.mark.engines
def test_ray_builds_the_trainer_of_each_entry(entries, engine, tmp_path):
  (tmp_path / "entries.json").write_text(json.dumps(entries))
  finished = engine("python", "-c", BUILD, str(tmp_path / "entries.json"))
  assert finished.returncode == 0, finished.stderr
  read = json.loads(finished.stdout.splitlines()[-1])
  assert read["slice"] == {
    "argv": ["MaxText.train", CONFIG, *CASES["slice"]],
    "workers": 4,
    "resources": {"TPU": 4},
    "topology": "2x2x4",
    "type": "TPU-V4",
    "tpu": True,
    "gpu": False,
    "failures": 3,
    "name": "arabic-omni-v4-32",
    "storage": "gs://b/runs/ray",
    "backend": {"use_tpu": True, "use_gpu": False},
  }
  host = read["one host"]
  assert (host["workers"], host["resources"], host["type"]) == (1, {"TPU": 8}, "TPU-V5LITEPOD")
  assert host["failures"] == 0
  assert (read["large"]["workers"], read["large"]["topology"]) == (16, "8x8")
  gpu = read["gpu"]
  assert (gpu["workers"], gpu["resources"], gpu["gpu"]) == (1, {"GPU": 8}, True)
  assert read["decode"]["argv"] == ["MaxText.decode", CONFIG, "split=test"]
