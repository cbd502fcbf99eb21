"""Restarts after failures and preemptions, through the runner, on slices of the stand-in."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from standins.cloud import Cloud, wait_for
from standins.running import PLACE, environment, run, started

SLICE = ("--TPU_PREFIX=qr-v4-32", *PLACE)
HERE = ("--USE_EXISTING_FOLDER=true", "--RUN_NAME=work")
# Fails on worker 1 as often as the file `fail` has lines; a line in `began` for each attempt.
FAILING = (
  "echo x >> began; if [ $STANDIN_WORKER = qr-v4-32/1 ] && [ -s ../fail ]; then"
  " sed -i 1d ../fail; exit 9; fi; [ $STANDIN_WORKER = qr-v4-32/1 ] || sleep 1"
)


@pytest.fixture(autouse=True)
def work_folders(cloud: Cloud) -> None:
  for worker in range(4):
    (cloud.home("qr-v4-32", worker) / "work").mkdir()


def began(cloud: Cloud, worker: int) -> int:
  return len((cloud.home("qr-v4-32", worker) / "work/began").read_text().splitlines())


def fail_times(cloud: Cloud, times: int) -> None:
  (cloud.home("qr-v4-32", 1) / "fail").write_text("x\n" * times)


def test_a_failure_restarts_all_workers(cloud: Cloud):
  fail_times(cloud, 2)
  done = run(cloud, *SLICE, *HERE, "--restarts", "2", f"--COMMAND={FAILING}")
  assert done.returncode == 0, done.stderr
  assert [began(cloud, worker) for worker in range(4)] == [3, 3, 3, 3]
  assert "failure 2, of 2 allowed: worker 1 ended with exit status 9" in done.stderr


def test_failures_are_counted_in_all(cloud: Cloud):
  fail_times(cloud, 3)
  done = run(cloud, *SLICE, *HERE, "--restarts=2", "--preemptions=0", f"--COMMAND={FAILING}")
  assert done.returncode == 9
  assert began(cloud, 0) == 3
  assert "error: worker 1 ended with exit status 9" in done.stderr


def test_a_restart_waits_until_the_accelerator_is_free(cloud: Cloud):
  """Starting libtpu while the last tenant still leaves hangs; nobody is ended for it."""
  fail_times(cloud, 1)
  device = cloud.folder / "accel0"
  device.touch()
  with device.open() as held:
    home = str(cloud.home("qr-v4-32", 2))
    tenant = subprocess.Popen(["sleep", "500"], env={**os.environ, "HOME": home}, stdin=held)
  try:
    with started(cloud, *SLICE, *HERE, "--restarts=1", f"--COMMAND={FAILING}") as runner:
      while "starting all workers again" not in runner.stdout.readline():
        pass
      with pytest.raises(subprocess.TimeoutExpired):
        runner.wait(3)
      assert began(cloud, 2) == 1
      assert tenant.poll() is None
      tenant.kill()
      tenant.wait()
      assert runner.wait(60) == 0
  finally:
    tenant.kill()
    tenant.wait()
  assert began(cloud, 2) == 2


def test_the_lock_file_of_a_killed_process_is_removed(cloud: Cloud):
  (cloud.folder / "accel0").touch()
  (cloud.folder / "libtpu_lockfile").touch()
  assert run(cloud, *SLICE, *HERE, "--COMMAND=true").returncode == 0
  assert not (cloud.folder / "libtpu_lockfile").exists()


def test_an_interrupt_is_no_failure(cloud: Cloud):
  with started(
    cloud, *SLICE, *HERE, "--restarts=5", "--COMMAND=echo x >> began; sleep 511"
  ) as runner:
    wait_for(lambda: len(cloud.processes("qr-v4-32", 3)) > 1)
    wait_for(lambda: (cloud.home("qr-v4-32", 3) / "work/began").exists())
    runner.send_signal(signal.SIGINT)
    assert runner.wait(60) == 130
  assert began(cloud, 3) == 1


def test_the_time_limit_is_no_failure(cloud: Cloud):
  line = "--COMMAND=echo x >> began; sleep 522"
  assert run(cloud, *SLICE, *HERE, "--restarts=5", "--TIMEOUT_SECS=2", line).returncode == 124
  assert began(cloud, 0) == 1


def test_code_is_copied_once(cloud: Cloud, tmp_path: Path):
  (tmp_path / "code").mkdir()
  (tmp_path / "code/train.sh").write_text(FAILING)
  fail_times(cloud, 1)
  line = (*SLICE, f"--SCRIPT_DIR={tmp_path / 'code'}", "--RUN_NAME=work", "--restarts=1")
  done = run(cloud, *line, "--COMMAND=bash train.sh")
  assert done.returncode == 0, done.stderr
  assert began(cloud, 1) == 2
  assert len([call for call in cloud.calls() if "scp" in call]) == 4


def test_setup_runs_before_the_command_and_once(cloud: Cloud):
  fail_times(cloud, 1)
  line = ("--SETUP_COMMAND=echo x >> set_up", "--restarts=1", f"--COMMAND=cat set_up; {FAILING}")
  done = run(cloud, *SLICE, *HERE, *line)
  assert done.returncode == 0, done.stderr
  assert (cloud.home("qr-v4-32", 0) / "work/set_up").read_text() == "x\n"
  failed = run(cloud, *SLICE, *HERE, "--SETUP_COMMAND=exit 5", "--COMMAND=true")
  assert (failed.returncode, "error: setup: worker" in failed.stderr) == (5, True)


def gcloud(cloud: Cloud, *arguments: str) -> str:
  done = subprocess.run(
    ["gcloud", *arguments, "--project=p", "--zone=us-central2-b"],
    env=environment(cloud),
    capture_output=True,
    text=True,
    check=True,
  )
  return done.stdout


@pytest.fixture
def spot(cloud: Cloud) -> Cloud:
  """A slice that a queued resource of another name has made."""
  request = ("alpha", "compute", "tpus", "queued-resources")
  gcloud(
    cloud,
    *(*request, "create", "my-request", "--accelerator-type=v4-16", "--node-id=spot", "--spot"),
    "--runtime-version=tpu-ubuntu2204-base",
  )
  wait_for(lambda: "ACTIVE" in gcloud(cloud, *request, "describe", "my-request", "--format=json"))
  return cloud


SPOT = ("--TPU_PREFIX=spot", *PLACE, "--RUN_NAME=run3", "--SETUP_COMMAND=echo x >> ../set_up")


def verbs(cloud: Cloud) -> list[str]:
  """Calls that change something, in order."""
  calls = [" ".join(call) for call in cloud.calls()]
  return [
    f"{kind} {verb}"
    for call in calls
    for kind in ("queued-resources", "tpu-vm")
    for verb in ("create", "delete")
    if f"{kind} {verb} " in call
  ]


def test_a_preempted_slice_is_made_anew(spot: Cloud, tmp_path: Path):
  (tmp_path / "code").mkdir()
  (tmp_path / "code/train.sh").write_text("if [ -e ~/../../over ]; then exit 0; fi; sleep 533")
  line = (*SPOT, f"--SCRIPT_DIR={tmp_path / 'code'}", "--preemptions=2", "--COMMAND=bash train.sh")
  with started(spot, *line) as runner:
    wait_for(lambda: "sleep 533" in spot.processes("spot", 1).values())
    (spot.home("spot", 0) / "on_the_old_disk").touch()
    (spot.folder / "over").touch()
    spot.preempt("spot")
    output = runner.communicate(timeout=90)[0]
  assert runner.returncode == 0, output
  assert "spot is PREEMPTED" in output
  assert "preemption 1, of 2 allowed" in output
  assert not (spot.home("spot", 0) / "on_the_old_disk").exists()
  assert (spot.home("spot", 1) / "set_up").read_text() == "x\n"  # on the new disk
  order = verbs(spot)
  assert order[0] == "queued-resources create"
  assert order[-1] == "queued-resources create"
  assert "queued-resources delete" in order  # before the new one
  with spot.state() as state:
    node = state["nodes"]["spot"]
  assert node["acceleratorType"] == "v4-16"
  again = next(call for call in reversed(spot.calls()) if "create" in call)
  assert "--spot" in again
  assert "my-request" in again


def test_preemptions_have_a_budget_of_their_own(spot: Cloud, tmp_path: Path):
  (tmp_path / "code").mkdir()
  (tmp_path / "code/a").touch()
  line = (*SPOT, f"--SCRIPT_DIR={tmp_path / 'code'}", "--restarts=3", "--COMMAND=sleep 544")
  with started(spot, *line) as runner:
    wait_for(lambda: "sleep 544" in spot.processes("spot", 1).values())
    spot.preempt("spot")
    output = runner.communicate(timeout=90)[0]
  assert runner.returncode not in (0, None)
  assert "no more preemptions allowed" in output
  with spot.state() as state:  # what is given up must not be fulfilled, and cost, later
    assert "my-request" not in state["queued"]


def test_a_slice_that_does_not_come_is_cancelled(spot: Cloud, tmp_path: Path):
  (tmp_path / "code").mkdir()
  (tmp_path / "code/a").touch()
  flags = ("--preemptions=3", "--QUEUE_TIMEOUT_SECS=1", "--COMMAND=sleep 555")
  with started(spot, *SPOT, f"--SCRIPT_DIR={tmp_path / 'code'}", *flags) as runner:
    wait_for(lambda: "sleep 555" in spot.processes("spot", 1).values())
    with spot.state() as state:
      state["queue"] = {"states": ["WAITING_FOR_RESOURCES"]}
    spot.preempt("spot")
    output = runner.communicate(timeout=90)[0]
  assert runner.returncode == 1
  assert "error: queued resource my-request was WAITING_FOR_RESOURCES after 1 s" in output
  with spot.state() as state:
    assert "my-request" not in state["queued"]


def test_a_slice_lost_while_the_code_is_copied_is_made_anew(spot: Cloud, tmp_path: Path):
  (tmp_path / "code").mkdir()
  (tmp_path / "code/a").touch()
  spot.add_fault("scp", "delay", slice="spot", worker=1, seconds=3)
  line = (*SPOT, f"--SCRIPT_DIR={tmp_path / 'code'}", "--preemptions=1", "--COMMAND=ls")
  with started(spot, *line) as runner:
    wait_for(lambda: any("scp" in call for call in spot.calls()))
    spot.preempt("spot")
    output = runner.communicate(timeout=90)[0]
  assert runner.returncode == 0, output
  assert "preemption 1, of 1 allowed" in output


def test_a_slice_lost_before_it_could_be_used_is_asked_for_again(spot: Cloud, tmp_path: Path):
  (tmp_path / "code").mkdir()
  (tmp_path / "code/train.sh").write_text("if [ -e ~/../../over ]; then exit 0; fi; sleep 566")
  line = (*SPOT, f"--SCRIPT_DIR={tmp_path / 'code'}", "--preemptions=2", "--COMMAND=bash train.sh")
  with started(spot, *line) as runner:
    wait_for(lambda: "sleep 566" in spot.processes("spot", 1).values())
    (spot.folder / "over").touch()
    with spot.state() as state:
      state["queue"] = {"states": ["PROVISIONING", "SUSPENDED"]}
    spot.preempt("spot")
    seen = ""
    while "preemption 2, of 2 allowed" not in seen:
      seen += (line := runner.stdout.readline())
      assert line, seen
    with spot.state() as state:
      del state["queue"]
    output = runner.communicate(timeout=90)[0]
  assert runner.returncode == 0, seen + output
  assert "SUSPENDED" in seen


def test_a_slice_of_others_is_not_deleted_with_a_lost_one(cloud: Cloud, tmp_path: Path):
  """A queued resource of two slices, of which a run uses one."""
  request = ("alpha", "compute", "tpus", "queued-resources")
  shape = ("--accelerator-type=v4-8", "--runtime-version=tpu-ubuntu2204-base")
  nodes = ("--node-count=2", "--node-prefix=pair")
  gcloud(cloud, *request, "create", "both", *shape, *nodes)
  wait_for(lambda: "ACTIVE" in gcloud(cloud, *request, "describe", "both", "--format=json"))
  (tmp_path / "code").mkdir()
  (tmp_path / "code/a").touch()
  line = ("--TPU_PREFIX=pair-0", *PLACE, "--RUN_NAME=run4", "--preemptions=2")
  code = f"--SCRIPT_DIR={tmp_path / 'code'}"
  with started(cloud, *line, code, "--COMMAND=sleep 566") as runner:
    wait_for(lambda: "sleep 566" in cloud.processes("pair-0", 0).values())
    cloud.preempt("pair-0")
    output = runner.communicate(timeout=90)[0]
  assert runner.returncode == 1
  assert "queued resource both also holds pair-1, which this run does not use" in output
  with cloud.state() as state:
    assert state["nodes"]["pair-1"]["state"] == "READY"


def test_a_new_slice_needs_code(cloud: Cloud):
  done = run(cloud, *SLICE, *HERE, "--preemptions=1", "--COMMAND=true")
  assert done.returncode == 2
  assert "give --SETUP_COMMAND" in done.stderr
