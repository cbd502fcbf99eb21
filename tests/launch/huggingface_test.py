"""`maxtext-ext launch hf` against a server that talks as Hugging Face Jobs does."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest
from huggingface_hub import constants

from maxtext_ext.launch import code, hub
from tests.launch import jobs_server
from tests.launch.jobs_server import TOKEN, Break

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = "configs/experiments/demo.yml"
DECODE = ["configs/experiments/demo.yml", "--task", "decode", "split=test", "output=/out/decoded"]


@pytest.fixture
def jobs(monkeypatch):
  with jobs_server.serve() as served:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", served.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(hub, "USUAL", hub.Pace(first=0.01, longest=0.02, patience=0.5))
    monkeypatch.setattr(code, "_PARTS", ("configs",))  # quicker to pack
    served.log = [("10:00:00", "one"), ("10:00:00", "one"), ("10:00:01", "two")]
    yield served


def test_a_training_is_submitted_and_followed_to_its_end(jobs, launch):
  jobs.stage = "RUNNING"
  jobs.streams = [Break(2, cleanly=False), Break(3, stage="COMPLETED")]
  status, out, err = launch("hf", CONFIG, "steps=7", "--flavor", "a100-large", "--monitor")
  assert status == 0, err
  assert out.splitlines() == ["one", "one", "two"]
  assert "job reader/job1: completed" in err
  (asked,) = jobs.asked
  assert asked["flavor"] == "a100-large"
  assert asked["dockerImage"] == "python:3.12"
  assert asked["timeoutSeconds"] == 8 * 3600
  assert asked["labels"]["name"] == "demo"
  script = asked["command"][2]
  assert "setup/setup_cuda_worker.sh" in script
  assert f"exec ~/venv-maxtext/bin/maxtext-ext train {CONFIG} steps=7" in script


def test_a_decoding_is_submitted_without_waiting(jobs, launch):
  status, out, _ = launch(
    "hf", *DECODE, "--name", "arabic-test", "--timeout", "30m", "--restarts", "2"
  )
  assert (status, out) == (0, "reader/job1\n")
  (asked,) = jobs.asked
  assert f"maxtext-ext decode {CONFIG} split=test output=/out/decoded" in asked["command"][2]
  assert (asked["labels"]["name"], asked["timeoutSeconds"]) == ("arabic-test", 1800)
  assert asked["attempts"] == 3
  assert jobs.opened == 0


def test_the_token_goes_to_the_job_as_a_secret_only(jobs, launch, monkeypatch):
  monkeypatch.setenv("WANDB_API_KEY", "w-1234")
  secrets = ["--secret", "HF_TOKEN", "--secret", "WANDB_API_KEY"]
  _, out, err = launch("hf", CONFIG, *secrets)
  (asked,) = jobs.asked
  assert asked.pop("secrets") == {"HF_TOKEN": TOKEN, "WANDB_API_KEY": "w-1234"}
  for text in (json.dumps(asked), out, err):
    assert TOKEN not in text
    assert "w-1234" not in text


@pytest.mark.parametrize("stage", ["ERROR", "CANCELED", "DELETED"])
def test_a_job_that_does_not_complete_is_a_failed_command(jobs, launch, stage):
  jobs.stage, jobs.message = stage, "exit code 1"
  status, out, err = launch("hf", CONFIG, "--monitor")
  assert status == 1
  assert out.splitlines() == ["one", "one", "two"]
  assert f"error: job reader/job1 ended as {stage}: exit code 1" in err


@pytest.mark.parametrize("status", [500, 503, 0])
def test_a_job_is_asked_for_until_it_is_taken_and_only_once(jobs, launch, status):
  jobs.failures = [("POST", "/jobs/", status), ("GET", "/whoami", 502)]
  assert launch("hf", CONFIG)[0] == 0
  assert len(jobs.asked) == 1
  assert not jobs.failures


def test_a_refusal_of_the_hub_is_one_line(jobs, launch):
  jobs.failures = [("POST", "/jobs/", 402)]
  status, _, err = launch("hf", CONFIG)
  assert status == 2
  assert "refuses" in err.splitlines()[-1]
  assert "402" in err.splitlines()[-1]
  assert not jobs.asked


def test_a_request_that_is_too_large_names_the_remedy(jobs, launch):
  jobs.failures = [("POST", "/jobs/", 413)]
  status, _, err = launch("hf", CONFIG, "--code", "inline")
  assert status == 2
  assert "commit and push, and give --code git" in err


def test_a_dry_run_shows_what_would_be_sent_and_sends_nothing(jobs, launch, tmp_path):
  written = tmp_path / "request.json"
  options = ["--flavor", "h200", "--code", "inline", "--output", str(written)]
  options += ["--volume", "hf://buckets/me/asr:/data"]
  status, out, err = launch("hf", CONFIG, *options, "--dry-run")
  assert status == 0, err
  assert jobs.requests == []
  assert TOKEN not in out
  assert written.read_text() == out
  shown = json.loads(out)
  launch("hf", CONFIG, *options)
  (sent,) = jobs.asked
  assert shown.pop("secrets") == dict.fromkeys(sent.pop("secrets"), "***")
  assert (sent.pop("arguments"), sent.pop("environment")) == ([], {})
  sent["labels"].pop("launch")
  whole, cut = sent.pop("command"), shown.pop("command")
  assert [word[:60] for word in whole] == [word[:60] for word in cut]
  assert shown == sent
  assert sent["volumes"] == [{"type": "bucket", "source": "me/asr", "mountPath": "/data"}]


def test_a_machine_without_a_gpu_gets_the_environment_without_one(launch):
  _, out, _ = launch("hf", CONFIG, "--flavor", "cpu-upgrade", "--dry-run")
  script = json.loads(out)["command"][2]
  assert "setup/install.sh none" in script
  assert f"exec .venv/bin/maxtext-ext train {CONFIG}" in script


def test_without_a_token_nothing_is_sent(jobs, launch, monkeypatch, tmp_path):
  monkeypatch.delenv("HF_TOKEN")
  monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
  status, _, err = launch("hf", CONFIG)
  assert status == 2
  assert "no token of the Hugging Face hub: export HF_TOKEN, or run `hf auth login`" in err
  assert jobs.requests == []


def test_offline_it_fails_at_once(jobs, launch, monkeypatch):
  monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
  status, _, err = launch("hf", CONFIG)
  assert status == 2
  assert "offline" in err.splitlines()[-1].lower()
  assert jobs.requests == []


WRONG = {
  "time": (["--timeout", "soon"], "--timeout 'soon': expected a time such as 8h"),
  "no time": (["--timeout", "0"], "--timeout '0': expected a time"),
  "volume": (["--volume", "/data"], "--volume /data: expected hf://buckets/OWNER/NAME:/MOUNT"),
  "secret": (["--secret", "NOT_SET_HERE"], "--secret NOT_SET_HERE: not set in the environment"),
  "value": (["--secret", "A=hf_value"], "--secret: expected the name of a variable"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_told_before_anything_is_sent(jobs, launch, case):
  args, expected = WRONG[case]
  status, _, err = launch("hf", CONFIG, *args)
  assert status == 2
  assert expected in err
  assert "hf_value" not in err
  assert jobs.requests == []


@pytest.mark.parametrize("cancel", [False, True])
@pytest.mark.integration_test
def test_ctrl_c_leaves_the_job_or_cancels_it(cancel):
  with jobs_server.serve() as jobs:
    jobs.log, jobs.stage, jobs.left_open = [("1", "first")], "RUNNING", True
    options = ["--code", "inline", "--monitor", *(["--cancel-on-interrupt"] if cancel else [])]
    command = [sys.executable, "-m", "maxtext_ext.cli", "launch", "hf", CONFIG, *options]
    hub_is = {"HF_ENDPOINT": jobs.url, "HF_HUB_OFFLINE": "0", "HF_TOKEN": TOKEN}
    process = subprocess.Popen(
      command,
      env={**os.environ, **hub_is},
      cwd=ROOT,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    assert process.stdout.readline() == "first\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
  assert process.returncode == 130
  assert jobs.cancelled == cancel
  expected = "is cancelled" if cancel else "`hf jobs cancel reader/job1` ends it"
  assert expected in err
