"""The command and the JobSet of XPK, held against what XPK makes of that command."""

import json
import shlex

import pytest
import yaml

CONFIG = "configs/experiments/arabic_omni_v4_32.yml"
CLUSTER = ["--cluster", "tpus", "--project", "my-project", "--zone", "us-central2-b"]
CASES = {
  "built image": [],
  "image": ["--image", "gcr.io/p/asr:1", "--restarts", "0"],
  "slices": ["--slices", "2", "--accelerator", "v6e-16", "--name", "two"],
  "v5e": ["--accelerator", "v5e-8"],
  "decode": ["--task", "decode", "split=test", "context=a 'quoted' $word"],
}

# Runs XPK with each command, as its program does, but for starting anything.
DRY_RUN = """
import json, sys
from xpk.main import main
for name, command in json.load(open(sys.argv[1])).items():
  sys.argv = [*command, "--dry-run", "--skip-validation", f"--output-manifest-file={name}.yml"]
  try:
    main()
  except SystemExit as ended:
    if ended.code:
      raise
"""


def dry_run(launch, *options):
  """The command, and the JobSet, of `launch xpk --dry-run`."""
  status, out, err = launch("xpk", CONFIG, *CLUSTER, *options, "--dry-run")
  assert status == 0, err
  command = shlex.split(out.splitlines()[0].removeprefix("# "))
  return command, yaml.safe_load(out)


def test_the_command_restarts_a_lost_slice(launch):
  command, _ = dry_run(launch, "steps=3", "--name", "omni")
  assert command[:3] == ["xpk", "workload", "create"]
  for option in (
    *["--workload=omni", "--cluster=tpus", "--project=my-project", "--zone=us-central2-b"],
    *["--tpu-type=v4-32", "--num-slices=1", "--max-restarts=10", "--restart-on-exit-codes=42"],
    *["--base-docker-image=python:3.12", "--script-dir=."],
    "--command=bash setup/setup_tpu_worker.sh --skip-doctor &&"
    f" exec ~/venv-maxtext/bin/maxtext-ext train {CONFIG} steps=3",
  ):
    assert option in command


def test_an_image_has_the_code_already(launch):
  command, job_set = dry_run(launch, "--image", "gcr.io/p/asr:1")
  assert "--docker-image=gcr.io/p/asr:1" in command
  assert not any("setup_tpu_worker" in word for word in command)
  (job,) = job_set["spec"]["replicatedJobs"]
  (container,) = job["template"]["spec"]["template"]["spec"]["containers"]
  assert container["image"] == "gcr.io/p/asr:1"


def test_kubernetes_puts_no_variable_into_a_value(launch):
  _, job_set = dry_run(launch, "context=costs $$5 or $(HOME)")
  (container,) = containers(job_set)
  assert container["command"][-1].endswith("'context=costs $$$$5 or $$(HOME)'")


@pytest.mark.engines
def test_xpk_makes_the_same_job_set_of_the_command(launch, engine, tmp_path):
  asked, ours = {}, {}
  for case, options in CASES.items():
    asked[case], ours[case] = dry_run(launch, *options)
  (tmp_path / "asked.json").write_text(json.dumps(asked))
  finished = engine("python", "-c", DRY_RUN, str(tmp_path / "asked.json"), cwd=tmp_path)
  assert finished.returncode == 0, finished.stdout + finished.stderr
  for case in CASES:
    theirs = yaml.safe_load((tmp_path / f"{case}.yml").read_text())
    compare(case, ours[case], without_empty(theirs))


def compare(case, ours, theirs):
  """Holds our JobSet to XPK's, which differ in what XPK does around the command."""
  (our_container,) = containers(ours)
  (their_container,) = containers(theirs)
  script = their_container["command"].pop()
  line = our_container["command"].pop()
  assert f"({line})" in script  # which XPK waits for, and passes its exit status on
  if case != "image":
    assert their_container.pop("image").startswith("gcr.io/my-project/")
    assert our_container.pop("image") == "IMAGE"
  codes(ours).sort()
  codes(theirs).sort()
  del pod(theirs)["imagePullSecrets"]  # of a secret called None
  assert ours == theirs


def pod(job_set):
  (job,) = job_set["spec"]["replicatedJobs"]
  return job["template"]["spec"]["template"]["spec"]


def containers(job_set):
  return pod(job_set)["containers"]


def codes(job_set):
  (job,) = job_set["spec"]["replicatedJobs"]
  (rule,) = job["template"]["spec"]["podFailurePolicy"]["rules"]
  return rule["onExitCodes"]["values"]


def without_empty(node):
  """A tree without keys that have no value, which XPK's template leaves."""
  if isinstance(node, dict):
    pruned = {key: without_empty(value) for key, value in node.items()}
    return {key: value for key, value in pruned.items() if value not in (None, {})}
  if isinstance(node, list):
    return [without_empty(value) for value in node]
  return node


WRONG = {
  "gpu": (["--accelerator", "H100:8"], "`launch xpk` is for TPU slices such as v4-32"),
  "slice": (["--accelerator", "v4-33"], "'v4-33': expected one of v4-8, v4-16, v4-32"),
  "line break": (["context=a\nb"], "a value with a line break cannot be passed on"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_xpk_cannot_do_is_refused(launch, case):
  options, expected = WRONG[case]
  status, _, err = launch("xpk", CONFIG, *options, "--dry-run")
  assert status == 2
  assert expected in err
