import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from orchestration import multihost_job
from standins.cloud import VARIABLE, Cloud, wait_for
from standins.gcloud_queued_resources import advance, plan, restart_machine, start_machine

pytestmark = pytest.mark.slow

STANDINS = Path(__file__).parents[2] / "standins"
QUICK = ("--POLL_SECS=0.2", "--LOG_SECS=1", "--VENV=false", "--PROJECT=p", "--ZONE=z")


class Pod(Cloud):
  """The stand-in with a bucket, and jobs on it."""

  def __init__(self, folder: Path, code: Path) -> None:
    super().__init__(folder)
    self.code = code
    self.bucket = folder / "buckets" / "b"
    self.bucket.mkdir(parents=True)

  def command_line(self, command: str, *flags: str, slices: int = 1, tpu: str = "v4-16"):
    return [
      *(sys.executable, multihost_job.__file__, f"--COMMAND={command}", "--BUCKET_NAME=gs://b"),
      *("--RUN_NAME=job", f"--NUM_SLICES={slices}", f"--TPU_TYPE={tpu}", *QUICK, *flags),
    ]

  def submit(self, command: str, *flags: str, **more) -> subprocess.CompletedProcess:
    return subprocess.run(
      self.command_line(command, *flags, **more),
      cwd=self.code,
      capture_output=True,
      text=True,
      timeout=120,
      check=False,
    )

  def ask(self, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
      [sys.executable, multihost_job.__file__, *arguments, "--BUCKET_NAME=b", "--POLL_SECS=0.2"],
      capture_output=True,
      text=True,
      timeout=120,
      check=False,
    )

  def start(self) -> None:
    """Lets the queue grant the job its machines."""
    while advance(self, "job")["state"] != "ACTIVE":
      pass

  def log(self, worker: int = 0, group: int = 0) -> str:
    file = self.bucket / "job" / f"main_command_log_slice_{group}_worker_{worker}"
    return file.read_text() if file.exists() else ""

  def status(self, worker: int = 0, group: int = 0) -> dict:
    file = self.bucket / "job" / f"status_slice_{group}_worker_{worker}.json"
    return json.loads(file.read_text()) if file.exists() else {}

  def has_run(self, node: str, worker: int, file: str) -> list[str]:
    path = self.home(node, worker) / "job" / file
    return path.read_text().split() if path.exists() else []

  def gone(self) -> bool:
    with self.state() as state:
      return not state["queued"] and not state["nodes"]


@pytest.fixture
def pod(tmp_path, monkeypatch):
  code = tmp_path / "code"
  code.mkdir()
  (code / "hello.txt").write_text("hello\n")
  (code / "ignored.txt").write_text("not tracked\n")
  subprocess.run(["git", "init", "-q"], cwd=code, check=True)
  subprocess.run(["git", "add", "hello.txt"], cwd=code, check=True)
  monkeypatch.setenv("PATH", f"{STANDINS}:{os.environ['PATH']}")
  monkeypatch.setenv(VARIABLE, str(tmp_path / "cloud"))
  monkeypatch.setenv("MULTIHOST_BACKOFF", "0.05")
  pod = Pod(tmp_path / "cloud", code)
  yield pod
  with pod.state() as state:
    nodes = {name: node["workers"] for name, node in state["nodes"].items()}
  for name, workers in nodes.items():
    for worker in range(workers):
      pod.end_machine(name, worker)


def test_a_job_runs_on_every_worker_and_deletes_itself(pod):
  command = "cat hello.txt; ls; echo $SLICE_ID $WORKER_ID $NODE_ID"
  done = pod.submit(command, "--WAIT=true", "--DELETE_AFTER_SECS=0.5", slices=2)
  assert done.returncode == 0, done.stderr
  assert "hello" in done.stdout
  for group in (0, 1):
    for worker in (0, 1):
      log = pod.log(worker, group)
      assert f"{group} {worker} job-{group}" in log
      assert "ignored.txt" not in log
      status = pod.status(worker, group)
      assert (status["state"], status["exit_status"], status["signal"]) == ("done", 0, 0)
  wait_for(pod.gone)


def test_a_command_arrives_as_it_was_written(pod):
  text = """a 'b' "c" $HOME `d` \\n %s é {e}\nJOB\n  PROGRAM  """
  command = (
    f"printf '%s' \"$0$HOME\" >/dev/null\ncat > out <<'END'\n{text}\nEND\ntrue && echo 'a  b'"
  )
  assert pod.submit(command, tpu="v4-8").returncode == 0
  pod.start()
  wait_for(lambda: pod.status().get("state") == "done")
  assert (pod.home("job", 0) / "job" / "out").read_text() == f"{text}\n"
  assert "a  b\n" in pod.log()


@pytest.mark.parametrize(
  ("end", "exit_status", "said"),
  [("exit 3", 3, "exit status 3"), ("kill -KILL $$", 137, "exit status 137 (signal 9)")],
)
def test_a_worker_that_fails_ends_the_others_and_is_named(pod, end, exit_status, said):
  command = f'if [ "$WORKER_ID" = 1 ]; then echo "no data"; {end}; fi; sleep 600 & wait'
  done = pod.submit(command, "--WAIT=true", "--DELETE_AFTER_SECS=-1")
  assert done.returncode == exit_status
  lines = done.stderr.splitlines()
  named = next(number for number, line in enumerate(lines) if "its last lines" in line)
  assert lines[named].startswith(f"slice 0 worker 1: failed with {said}")
  assert "  no data" in lines[named:]
  assert pod.status(worker=0)["state"] == "stopped"
  wait_for(lambda: not [text for text in pod.processes("job", 0).values() if "sleep 600" in text])
  assert pod.ask("status", "job").returncode == exit_status


def test_a_machine_that_boots_again_goes_on(pod):
  command = 'echo run >> "$HOME/../runs"; cat hello.txt; [ -e "$HOME/../go" ] || sleep 600'
  assert pod.submit(command, "--DELETE_AFTER_SECS=-1", tpu="v4-8").returncode == 0
  pod.start()
  runs = pod.folder / "job" / "runs"
  wait_for(lambda: pod.log().count("hello\n") == 1)
  restart_machine(pod, "job", 0)
  wait_for(lambda: pod.log().count("hello\n") == 2)
  (pod.folder / "job" / "go").touch()
  restart_machine(pod, "job", 0, keep_disk=False)
  wait_for(lambda: pod.status().get("state") == "done")
  assert (runs.read_text().split(), pod.log().count("hello\n")) == (["run"] * 3, 3)
  restart_machine(pod, "job", 0)
  wait_for(lambda: not pod.processes("job", 0))
  assert runs.read_text().split() == ["run"] * 3


def test_a_command_never_runs_twice_at_the_same_time(pod):
  assert pod.submit("echo run >> runs; sleep 600", tpu="v4-8").returncode == 0
  pod.start()
  wait_for(lambda: pod.has_run("job", 0, "runs"))
  start_machine(pod, "job", 0)
  boot = pod.folder / "job" / "startup-0.log"
  wait_for(lambda: "job is running on this machine already" in boot.read_text())
  assert pod.has_run("job", 0, "runs") == ["run"]
  for pid, text in pod.processes("job", 0).items():
    if "multihost_job.pyz" in text:
      os.kill(pid, 9)
  start_machine(pod, "job", 0)
  wait_for(lambda: len(pod.has_run("job", 0, "runs")) == 2)
  assert sum(text == "sleep 600" for text in pod.processes("job", 0).values()) == 1


def test_a_shutdown_is_no_failure(pod):
  assert pod.submit("echo run >> runs; exec sleep 600", tpu="v4-8").returncode == 0
  pod.start()
  wait_for(lambda: pod.has_run("job", 0, "runs"))
  for pid in pod.processes("job", 0):
    with contextlib.suppress(ProcessLookupError):  # a call of gcloud that has just ended
      os.kill(pid, 15)
  wait_for(lambda: pod.status().get("state") == "interrupted")
  restart_machine(pod, "job", 0)
  wait_for(lambda: len(pod.has_run("job", 0, "runs")) == 2)


def test_a_failed_attempt_is_repeated_by_all_workers(pod):
  command = 'echo run >> runs; [ "$WORKER_ID" = 0 ] || [ "$(wc -l < runs)" = 2 ] || exit 1'
  done = pod.submit(command, "--WAIT=true", "--RESTARTS=1", "--DELETE_AFTER_SECS=-1")
  assert done.returncode == 0, done.stderr
  assert [pod.has_run("job", worker, "runs") for worker in (0, 1)] == [["run"] * 2] * 2


def test_a_lost_peer_is_no_failure(pod):
  command = 'echo run >> runs; [ "$(wc -l < runs)" = 2 ] || exit 42'
  done = pod.submit(command, "--WAIT=true", "--PREEMPTIONS=1", tpu="v4-8")
  assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
  ("damaged", "said"),
  [(True, "cannot be unpacked"), (False, "there is no script_dir_zip_job.tar.gz")],
)
def test_code_that_cannot_be_had_fails_the_job(pod, damaged, said):
  assert pod.submit("true", tpu="v4-8").returncode == 0
  archive = pod.bucket / "job" / "script_dir_zip_job.tar.gz"
  archive.unlink()
  if damaged:
    archive.write_bytes(b"no archive")
  pod.start()
  wait_for(lambda: pod.status().get("state") == "failed")
  shown = pod.ask("status", "job")
  assert (shown.returncode, said in shown.stdout) == (1, True), shown.stdout


def test_a_bucket_that_is_out_of_reach_ends_nothing(pod):
  assert pod.submit("echo here", tpu="v4-8").returncode == 0
  for verb in ("ls", "cp"):
    pod.add_fault(f"storage {verb}", "fail", times=4, text="ERROR: (gcloud.storage) HTTPError 503")
  pod.start()
  wait_for(lambda: pod.status().get("state") == "done")
  assert "here" in pod.log()


def test_a_virtual_environment_is_made_and_active(pod):
  # The worker tries `python3 -m virtualenv` first, in the folder of the code.
  (pod.code / "virtualenv.py").write_text(
    "import pathlib, sys\n"
    "folder = pathlib.Path(sys.argv[1], 'bin')\n"
    "folder.mkdir(parents=True)\n"
    "(folder / 'activate').touch()\n"
    "(folder / 'tool').touch(0o755)\n"
  )
  subprocess.run(["git", "add", "virtualenv.py"], cwd=pod.code, check=True)
  command = "command -v tool; echo $VIRTUAL_ENV"
  assert pod.submit(command, "--VENV=true", tpu="v4-8").returncode == 0
  pod.start()
  wait_for(lambda: pod.status().get("state") == "done")
  venv = pod.home("job", 0) / "job" / "venv"
  assert f"\n{venv}/bin/tool\n{venv}\n" in pod.log()


def test_a_preempted_slice_is_requested_anew(pod):
  command = '[ -e "$HOME/../../go" ] || exec sleep 600'
  job = subprocess.Popen(
    pod.command_line(command, "--WAIT=true", "--DELETE_AFTER_SECS=-1", tpu="v4-8"),
    cwd=pod.code,
    stderr=subprocess.PIPE,
    text=True,
  )
  wait_for(lambda: pod.status().get("state") == "running")
  (pod.folder / "go").touch()
  pod.preempt("job")
  said = job.communicate(timeout=60)[1]
  assert (job.returncode, "requesting it anew (1 of at most 10)" in said) == (0, True), said
  words = [" ".join(word for word in call if word[:2] != "--") for call in pod.calls()]
  changes = [text for text in words if "tpus" in text and "describe" not in text]
  assert [text.split()[-2] for text in changes] == ["create", "delete", "delete", "create"]


def test_a_job_that_waits_too_long_is_cancelled(pod):
  plan(pod, states=["WAITING_FOR_RESOURCES"])
  done = pod.submit("true", "--WAIT=true", "--QUEUE_TIMEOUT_SECS=1")
  assert (done.returncode, "1 s in the queue; it was deleted" in done.stderr) == (1, True)
  assert pod.gone()
  # The service withdraws it too, should this program be gone by then.
  assert "--valid-until-duration=1s" in next(call for call in pod.calls() if "create" in call)


def test_a_job_is_stopped(pod):
  assert pod.submit("echo here; sleep 600").returncode == 0
  assert pod.ask("status", "job").stdout.startswith("job WAITING_FOR_RESOURCES, attempt 0")
  pod.start()
  wait_for(lambda: "here" in pod.log(0) and "here" in pod.log(1))
  shown = pod.ask("status", "job")
  assert "job ACTIVE, attempt 0" in shown.stdout
  assert (shown.returncode, shown.stdout.count("running")) == (0, 2)
  again = pod.submit("true")
  assert (again.returncode, "job is ACTIVE" in again.stderr) == (1, True)
  assert pod.ask("stop", "job").returncode == 0
  assert pod.gone()
  assert [pod.status(worker)["state"] for worker in (0, 1)] == ["stopped"] * 2
  assert pod.ask("status", "job").returncode == 1
  assert "here\n" in pod.ask("logs", "job", "--WORKER=1").stdout
  assert pod.ask("attach", "job").returncode == 1


def test_a_name_can_be_used_again(pod):
  for _ in range(2):
    done = pod.submit("echo here", "--WAIT=true", "--DELETE_AFTER_SECS=0", tpu="v4-8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("here\n") == 1
    wait_for(pod.gone)
  assert pod.log().count("here\n") == 2


def test_another_worker_deletes_the_slices_if_the_first_is_gone(pod):
  job = multihost_job.Job(
    *("20260101-000000-a", "job", 'test "$WORKER_ID" = 1 || sleep 600', "gs://b/job", "p", "z"),
    tpu_type="v4-16",
    workers=2,
    venv=False,
    poll_seconds=0.2,
    log_seconds=0.3,
    silence_seconds=3.0,
    preemptions=0,
    delete_after=0.0,
    takeover_seconds=0.3,
  )
  multihost_job.submit(job, pod.code)
  pod.start()
  wait_for(lambda: pod.status(1).get("state") == "done")
  pod.end_machine("job", 0)
  wait_for(pod.gone)
  assert "nothing was heard of slice 0 worker 0" in pod.log(1)


def test_slices_that_cannot_be_deleted_are_told_in_the_log(pod):
  denied = "ERROR: (gcloud) PERMISSION_DENIED: Permission 'tpu.queuedResources.delete' denied"
  pod.add_fault("queued-resources delete", "fail", text=denied)
  assert pod.submit("true", "--DELETE_AFTER_SECS=0", tpu="v4-8").returncode == 0
  pod.start()
  wait_for(lambda: "cannot delete the slices, which cost until somebody does" in pod.log())


def test_flags_of_maxtext_reach_gcloud(pod):
  flags = ("--CQR_EXTRA_ARGS=--reserved --labels=a='b c'", "--ENABLE_AUTOCHECKPOINT=true")
  assert pod.submit("true", *flags, slices=2, tpu="v4-32").returncode == 0
  create = next(call for call in pod.calls() if "create" in call)
  assert create[:6] == ["alpha", "compute", "tpus", "queued-resources", "create", "job"]
  for flag in (
    *("--project=p", "--zone=z", "--accelerator-type=v4-32"),
    *("--runtime-version=tpu-ubuntu2204-base", "--node-count=2", "--node-prefix=job"),
    *("--reserved", "--labels=a=b c", "--autocheckpoint-enabled"),
  ):
    assert flag in create


@pytest.mark.parametrize(
  ("flags", "said"),
  [
    (("--BUCKET_NAME=missing",), "gs://missing not found: 404"),
    (("--TPU_TYPE=h100-8",), "--TPU_TYPE=h100-8: expected v2-N"),
    (("--NUM_SLICES=0",), "--NUM_SLICES=0: expected 1 or more"),
    (("--RUN_NAME=a/b",), "--RUN_NAME=a/b: expected letters"),
    (("--SCRIPT_DIR=/nowhere",), "/nowhere: no such folder"),
    (("--CQR_EXTRA_ARGS='",), "No closing quotation"),
  ],
)
def test_what_cannot_be_is_refused_before_slices_are_requested(pod, flags, said):
  done = pod.submit("true", *flags)
  assert (done.returncode, said in done.stderr.splitlines()[-1]) == (1, True), done.stderr
  assert not [call for call in pod.calls() if "create" in call]
