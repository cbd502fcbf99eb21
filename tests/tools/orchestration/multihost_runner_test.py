"""The runner on workers of the stand-in: real processes that are really ended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from standins.cloud import Cloud, wait_for
from standins.running import PLACE, command, environment, plain, run, started

pytestmark = pytest.mark.slow

SLICE = ("--TPU_PREFIX=qr-v4-32", *PLACE)
HERE = ("--USE_EXISTING_FOLDER=true", "--RUN_NAME=work")  # in a folder that the workers have


@pytest.fixture(autouse=True)
def work_folders(cloud: Cloud) -> None:
  for worker in range(4):
    (cloud.home("qr-v4-32", worker) / "work").mkdir()


def sleeping(cloud: Cloud, seconds: str) -> list[int]:
  """Workers on which `sleep SECONDS` is alive."""
  return [
    worker
    for worker in range(4)
    if any(seconds in each.split() for each in cloud.processes("qr-v4-32", worker).values())
  ]


def log(cloud: Cloud, worker: int, run_name: str = "work") -> str:
  path = cloud.folder / "tmp" / run_name / f"output_slice_0000_worker_{worker:04d}.txt"
  return path.read_text()


def test_command_runs_on_every_worker_with_its_name_before_each_line(cloud: Cloud):
  done = run(cloud, *SLICE, *HERE, "--COMMAND=echo I am $STANDIN_WORKER; echo trouble >&2")
  assert done.returncode == 0, done.stderr
  for worker in range(4):
    assert f"[worker {worker}] I am qr-v4-32/{worker}" in done.stdout
    assert f"[worker {worker}] trouble" in done.stdout
    assert f"I am qr-v4-32/{worker}\ntrouble\n" in log(cloud, worker)
  assert "succeeded on all 4 workers" in done.stderr


def test_a_command_line_for_maxtext_works(cloud: Cloud):
  for worker in range(4):
    (cloud.home("qr-v4-32", worker) / "maxtext").mkdir()
  line = "cd ~/maxtext && pwd > pulled && source /dev/null"
  done = run(
    cloud,
    *("--TPU_PREFIX=qr-v4-32", "--PROJECT=p", "--ZONE=us-central2-b", "--INTERNAL_IP=true"),
    *(f"--COMMAND={line}", "--USE_EXISTING_FOLDER=true", "--RUN_NAME=work"),
  )
  assert done.returncode == 0, done.stderr
  assert all((cloud.home("qr-v4-32", each) / "maxtext/pulled").exists() for each in range(4))


def test_output_is_live(cloud: Cloud):
  with started(cloud, *SLICE, *HERE, "--COMMAND=echo now; sleep 311") as runner:
    lines = [runner.stdout.readline() for _ in range(6)]
    assert sum("now" in line for line in lines) == 4
    assert runner.poll() is None


@pytest.mark.parametrize(
  ("end", "status", "said"),
  [
    ("exit 3", 3, "worker 2 ended with exit status 3"),
    ("kill -9 $$", 137, "worker 2 was ended by signal 9 (SIGKILL)"),
    ("kill -SEGV $$", 139, "worker 2 was ended by signal 11 (SIGSEGV)"),
    ("exit 255", 255, "worker 2 ended with exit status 255"),
  ],
)
def test_when_a_worker_fails_the_others_are_stopped(cloud: Cloud, end: str, status: int, said: str):
  line = (
    f"if [ $STANDIN_WORKER = qr-v4-32/2 ]; then sleep 1; seq 30; {end}; fi;"
    " setsid sleep 322 & timeout 900 sleep 322 & sleep 322"
  )
  done = run(cloud, *SLICE, *HERE, f"--COMMAND={line}")
  assert done.returncode == status
  assert f"error: {said}" in done.stderr
  assert sleeping(cloud, "322") == []
  tail = [row for row in done.stderr.splitlines() if row.startswith("  | ")]
  assert tail == [f"  | {number}" for number in range(11, 31)]


def test_a_process_that_does_not_heed_sigterm_is_ended_by_force(cloud: Cloud):
  line = "[ $STANDIN_WORKER = qr-v4-32/2 ] && exit 3; trap '' TERM; sleep 323 & sleep 323"
  assert run(cloud, *SLICE, *HERE, f"--COMMAND={line}").returncode == 3
  assert sleeping(cloud, "323") == []


def test_a_worker_killed_from_outside_ends_the_run(cloud: Cloud):
  with started(cloud, *SLICE, *HERE, "--COMMAND=exec sleep 333") as runner:
    wait_for(lambda: sleeping(cloud, "333") == [0, 1, 2, 3])
    found = cloud.processes("qr-v4-32", 1)
    os.kill(next(pid for pid, text in found.items() if text == "sleep 333"), signal.SIGKILL)
    output = runner.communicate(timeout=60)[0]
  assert runner.returncode == 137
  assert "worker 1 was ended by signal 9" in output
  assert sleeping(cloud, "333") == []


def test_no_process_of_others_is_ended(cloud: Cloud):
  """Neither one of the same name, nor one that holds the accelerator."""
  home = cloud.home("qr-v4-32", 0)
  device = cloud.folder / "accel0"
  device.touch()
  with device.open() as held:
    other = subprocess.Popen(["sleep", "344"], env={**os.environ, "HOME": str(home)}, stdin=held)
  try:
    done = run(
      cloud, *SLICE, *HERE, "--COMMAND=[ $STANDIN_WORKER = qr-v4-32/1 ] && exit 1; sleep 344"
    )
    assert done.returncode == 1
    assert f"process {other.pid} (sleep 344) holds {device}; it is left alone" in done.stderr
    wait_for(lambda: list(cloud.processes("qr-v4-32", 0)) == [other.pid])
  finally:
    other.kill()
    other.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_stops_the_remote_processes(cloud: Cloud, number: int):
  with started(cloud, *SLICE, *HERE, "--COMMAND=sleep 355 & sleep 355") as runner:
    wait_for(lambda: sleeping(cloud, "355") == [0, 1, 2, 3])
    runner.send_signal(number)
    output = runner.communicate(timeout=60)[0]
  assert runner.returncode == 128 + number, output
  assert sleeping(cloud, "355") == []


def test_the_command_may_end_by_itself_after_an_interrupt(cloud: Cloud):
  line = "trap 'sleep 1; echo saved; exit 0' TERM; echo here; sleep 366 & wait"
  with started(cloud, *SLICE, *HERE, f"--COMMAND={line}") as runner:
    wait_for(lambda: sleeping(cloud, "366") == [0, 1, 2, 3])
    runner.send_signal(signal.SIGINT)
    output = runner.communicate(timeout=60)[0]
  assert output.count("saved") == 4
  assert runner.returncode == 130


def test_a_worker_that_does_not_hear_is_stopped_by_a_second_connection(cloud: Cloud):
  cloud.add_fault("ssh", "deaf", worker=2, containing=" run ")
  line = "trap 'echo saved >> saved; exit 0' TERM; sleep 367 & wait"
  with started(cloud, *SLICE, *HERE, f"--COMMAND={line}") as runner:
    wait_for(lambda: sleeping(cloud, "367") == [0, 1, 2, 3])
    runner.send_signal(signal.SIGINT)
    output = runner.communicate(timeout=60)[0]
  assert runner.returncode == 130, output
  assert sleeping(cloud, "367") == []
  assert (cloud.home("qr-v4-32", 2) / "work/saved").exists()  # it had the time to end


def test_a_second_interrupt_ends_at_once_what_does_not_end(cloud: Cloud):
  line = "trap '' TERM; sleep 377"
  with started(cloud, *SLICE, *HERE, "--STOP_GRACE_SECS=1000", f"--COMMAND={line}") as runner:
    wait_for(lambda: sleeping(cloud, "377") == [0, 1, 2, 3])
    runner.send_signal(signal.SIGINT)
    while "have 1000 s to end" not in runner.stdout.readline():
      pass
    runner.send_signal(signal.SIGINT)
    runner.communicate(timeout=60)
  assert runner.returncode == 130
  assert sleeping(cloud, "377") == []


def test_remote_processes_do_not_outlive_a_killed_runner(cloud: Cloud):
  line = "--COMMAND=exec sleep 388"
  with started(cloud, *SLICE, *HERE, "--STOP_GRACE_SECS=1", line) as runner:
    wait_for(lambda: sleeping(cloud, "388") == [0, 1, 2, 3])
    runner.kill()
    wait_for(lambda: sleeping(cloud, "388") == [])
  status = run(cloud, "status", "work")
  assert status.returncode == 1
  assert "its runner is gone" in status.stdout
  assert run(cloud, "stop", "work").returncode == 0
  assert run(cloud, "status", "work").returncode == 143


def test_a_lost_connection_stops_the_command_and_does_not_run_it_again(cloud: Cloud):
  cloud.add_fault("ssh", "drop", worker=3, seconds=2.0, containing=" run ")
  done = run(cloud, *SLICE, *HERE, "--STOP_GRACE_SECS=1", "--COMMAND=echo x >> began; sleep 399")
  assert done.returncode == 255
  assert "error: worker 3 lost its connection" in done.stderr
  assert sleeping(cloud, "399") == []
  assert (cloud.home("qr-v4-32", 3) / "work/began").read_text() == "x\n"


def test_connecting_is_tried_again(cloud: Cloud):
  busy = "ssh: connect to host 10.0.0.2 port 22: Connection refused"
  cloud.add_fault("ssh", "fail", worker=0, status=255, text=busy, times=2)
  cloud.add_fault("ssh", "fail", worker=2, status=255, text=busy, times=2)
  cloud.add_fault("list", "fail", times=2)
  done = run(cloud, *SLICE, *HERE, "--COMMAND=echo once >> began")
  assert done.returncode == 0, done.stderr
  assert f"worker 2: {busy}; connecting again" in done.stderr
  assert (cloud.home("qr-v4-32", 2) / "work/began").read_text() == "once\n"


def test_a_worker_that_cannot_be_reached_is_named(cloud: Cloud):
  text = "Connection timed out"
  cloud.add_fault("ssh", "fail", worker=1, status=255, text=text, times=9)
  done = run(cloud, *SLICE, *HERE, "--RETRIES=1", "--COMMAND=sleep 411")
  assert done.returncode == 255
  assert f"error: worker 1 could not be reached in 2 attempts: {text}" in done.stderr
  assert "not certain to have stopped: worker 1" in done.stderr
  assert sleeping(cloud, "411") == []


def test_a_connection_that_hangs_is_given_up(cloud: Cloud):
  cloud.add_fault("ssh", "hang", worker=1, containing=" run ")
  line = ("--CONNECT_TIMEOUT_SECS=3", "--COMMAND=echo once >> began")
  done = run(cloud, *SLICE, *HERE, *line)
  assert done.returncode == 0, done.stderr
  assert "worker 1: no answer within 3 s; connecting again" in done.stderr


def test_the_first_connection_is_made_alone(cloud: Cloud):
  """gcloud makes and injects the ssh key then; the stand-in answers 409 to a second injection."""
  done = run(cloud, *SLICE, *HERE, "--RETRIES=0", "--COMMAND=true")
  assert done.returncode == 0, done.stderr


def test_what_another_lost_worker_causes_is_not_named_as_the_cause(cloud: Cloud):
  line = (
    "case $STANDIN_WORKER in */2) trap '' TERM; sleep 2; exit 5;; */0) sleep 1; exit 42;; esac;"
    " sleep 422"
  )
  done = run(cloud, *SLICE, *HERE, f"--COMMAND={line}")
  assert (done.returncode, "error: worker 2 ended with exit status 5" in done.stderr) == (5, True)


def test_that_another_was_lost_is_said_where_nobody_else_failed(cloud: Cloud):
  done = run(cloud, *SLICE, *HERE, "--COMMAND=echo process 2 is frozen; exit 42")
  assert done.returncode == 42
  assert "ended with exit status 42, because another was lost" in done.stderr
  assert "| process 2 is frozen" in done.stderr


def test_the_time_limit_ends_the_command(cloud: Cloud):
  done = run(cloud, *SLICE, *HERE, "--TIMEOUT_SECS=2", "--COMMAND=sleep 433")
  assert done.returncode == 124
  assert "the time limit of 2 s is over" in done.stderr
  assert sleeping(cloud, "433") == []


def test_only_files_that_git_tracks_are_copied(cloud: Cloud, tmp_path: Path):
  code = tmp_path / "code"
  code.mkdir()
  for name in ("tracked.sh", "untracked.txt", ".gitignore", "ignored.log"):
    (code / name).write_text("*.log\n" if name == ".gitignore" else f"echo {name}\n")
  git = ["git", "-C", str(code)]
  subprocess.run([*git, "init", "-q"], check=True)
  subprocess.run([*git, "add", "tracked.sh", ".gitignore"], check=True)
  cloud.add_fault("scp", "fail", worker=3, status=255, text="lost connection")
  line = (*SLICE, f"--SCRIPT_DIR={code}", "--RUN_NAME=run7")
  done = run(cloud, *line, "--COMMAND=bash tracked.sh; ls -A > listed")
  assert done.returncode == 0, done.stderr
  assert "not copied, because git does not track them: untracked.txt" in done.stderr
  for worker in range(4):
    folder = cloud.home("qr-v4-32", worker) / "run7"
    assert (folder / "listed").read_text().split() == [".gitignore", "listed", "tracked.sh"]
    assert not list(folder.parent.glob("*.tar.gz"))


def test_code_that_does_not_arrive_is_an_error(cloud: Cloud, tmp_path: Path):
  (tmp_path / "code").mkdir()
  (tmp_path / "code/a").touch()
  cloud.add_fault("scp", "hang", worker=1)
  line = (*SLICE, f"--SCRIPT_DIR={tmp_path / 'code'}", "--RUN_NAME=run8", "--SCP_TIMEOUT_SECS=2")
  done = run(cloud, *line, "--COMMAND=true")
  assert done.returncode == 1
  assert "worker 1 did not get the code: no answer within" in done.stderr


def test_a_folder_that_is_not_there_is_an_error(cloud: Cloud):
  done = run(cloud, *SLICE, "--USE_EXISTING_FOLDER=true", "--RUN_NAME=other", "--COMMAND=true")
  assert done.returncode == 1
  assert "there is no folder other in" in done.stderr


def test_several_slices_are_counted_by_their_order_not_by_their_numbers(cloud: Cloud):
  for name, workers in (("many-10", 1), ("many-9", 2), ("many-x", 1), ("too-many-1", 1)):
    cloud.add_slice(name, workers)
    for worker in range(workers):
      (cloud.home(name, worker) / "work").mkdir()
  line = "--COMMAND=echo $STANDIN_WORKER is $MULTIHOST_SLICE.$MULTIHOST_WORKER"
  done = run(cloud, "--TPU_PREFIX=many", *PLACE, *HERE, line)
  assert done.returncode == 0, done.stderr
  assert sorted(done.stdout.splitlines()) == [
    "[slice 0 worker 0] many-9/0 is 0.0",
    "[slice 0 worker 1] many-9/1 is 0.1",
    "[slice 1 worker 0] many-10/0 is 1.0",
  ]


def test_a_slice_that_is_not_there_is_an_error(cloud: Cloud):
  done = run(cloud, "--TPU_PREFIX=qr", *PLACE, *HERE, "--COMMAND=true")
  assert done.returncode == 1
  assert "no TPU is called qr or qr-NUMBER in project p, zone us-central2-b" in done.stderr


def test_one_worker_can_be_chosen(cloud: Cloud):
  done = run(cloud, *SLICE, *HERE, "--WORKER=0,2", "--COMMAND=echo $STANDIN_WORKER")
  assert sorted(done.stdout.split()) == [
    "0]",
    "2]",
    "[worker",
    "[worker",
    "qr-v4-32/0",
    "qr-v4-32/2",
  ]
  done = run(cloud, *SLICE, *HERE, "--WORKER=7", "--COMMAND=true")
  assert (done.returncode, "no worker 7 in qr-v4-32" in done.stderr) == (1, True)


def test_secrets_reach_the_command_and_no_command_line(cloud: Cloud):
  line = (
    *("--ENV=HF_TOKEN", "--ENV=LANG,HOME"),
    "--COMMAND=echo ${#HF_TOKEN}; grep -ls hf_secre[t] /proc/[0-9]*/cmdline",
  )
  done = run(cloud, *SLICE, *HERE, *line, HF_TOKEN="hf_secret\n'x'")
  assert done.stdout.count("] 13\n") == 4, done.stderr
  assert "/proc/" not in done.stdout
  assert "hf_secret" not in str(cloud.calls())
  assert not any(b"hf_secret" in f.read_bytes() for f in cloud.folder.rglob("*") if f.is_file())
  missing = run(cloud, *SLICE, *HERE, "--ENV=NOT_THERE", "--COMMAND=true")
  assert (missing.returncode, "NOT_THERE is not in the environment" in missing.stderr) == (1, True)


def test_output_of_any_bytes_arrives_unharmed(cloud: Cloud):
  line = r"--COMMAND=printf '\xff\xfe \x1e{not} שלום\rhalf\rdone\nno end'"
  done = run(cloud, *SLICE, *HERE, "--WORKER=1", line)
  assert done.returncode == 0, done.stderr
  path = cloud.folder / "tmp/work/output_slice_0000_worker_0001.txt"
  assert b"\xff\xfe \x1e{not} " + "שלום".encode() + b"\rhalf\rdone\nno end" in path.read_bytes()
  assert "[worker 1] no end" in done.stdout


@pytest.mark.parametrize(
  ("flags", "said"),
  [
    (["--TPU_PREFIX=x"], "required: --COMMAND"),
    (["--TPU_PREFIX=x", "--COMMAND=true", "--INTERNAL_IP=maybe"], "expected true or false"),
    (["--TPU_PREFIX=x", "--COMMAND=true", "--WORKER=one"], "expected all, or numbers"),
    (["--TPU_PREFIX=x", "--COMMAND=true", "--restarts=-1"], "expected 0 or more"),
    (["--TPU_PREFIX=x", "--COMMAND=true", "--RUN_NAME=../x", *PLACE], "expected letters, digits"),
    (["--TPU_PREFIX=x", "--COMMAND=true", "--SCRIPT_DIR=/nowhere", *PLACE], "no such folder"),
    (["--TPU_PREFIX=x", "--COMMAND=true"], "no project: give --PROJECT"),
    (["status", "never"], "no run in"),
  ],
)
def test_wrong_flags_are_said(cloud: Cloud, flags: list[str], said: str):
  done = run(cloud, *flags)
  assert done.returncode in (1, 2)
  assert said in plain(done.stderr)


def test_a_run_goes_on_in_tmux(cloud: Cloud):
  line = "--COMMAND=echo began; while [ ! -e ../go ]; do sleep 0.2; done; echo over; exit 7"
  done = run(cloud, *SLICE, *HERE, "--detach", line)
  assert done.returncode == 0, done.stderr
  assert "work runs in tmux" in done.stderr
  wait_for(lambda: run(cloud, "logs", "work").stdout.count("began\n") == 4)
  assert "running since" in run(cloud, "status", "work").stdout
  assert "work: running since" in run(cloud, "status").stdout
  again = run(cloud, *SLICE, *HERE, "--COMMAND=true")
  assert (again.returncode, "work is running" in again.stderr) == (1, True)
  attached = subprocess.Popen(
    command("attach", "work"), env=environment(cloud), stdout=subprocess.PIPE, text=True
  )
  (cloud.home("qr-v4-32", 1) / "go").touch()
  output = attached.communicate(timeout=60)[0]
  assert attached.returncode == 7
  assert "[worker 1] over" in output
  status = run(cloud, "status", "work")
  assert (status.returncode, "worker 1 ended with exit status 7" in status.stdout) == (7, True)


def test_a_detached_run_is_stopped(cloud: Cloud):
  assert run(cloud, *SLICE, *HERE, "--detach", "--COMMAND=sleep 455").returncode == 0
  wait_for(lambda: sleeping(cloud, "455") == [0, 1, 2, 3])
  stopped = run(cloud, "stop", "work")
  assert (stopped.returncode, stopped.stdout) == (0, "work: stopped\n")
  assert sleeping(cloud, "455") == []
  assert run(cloud, "status", "work").returncode == 143
  assert "has ended already" in run(cloud, "stop", "work").stdout


def test_a_dry_run_does_nothing(cloud: Cloud):
  done = run(cloud, *SLICE, *HERE, "--dry-run", "--COMMAND=touch done")
  assert done.stdout.count("cd work && touch done") == 4
  assert not any("ssh" in call for call in cloud.calls())


def test_the_jumpbox_needs_python_3_9_and_its_library_only():
  import ast

  folder = Path(__file__).parents[3] / "tools/orchestration"
  for path in folder.glob("*.py"):
    version = (3, 8) if path.name == "agent.py" else (3, 9)
    tree = ast.parse(path.read_text(), feature_version=version)
    for node in ast.walk(tree):
      names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
      if isinstance(node, ast.ImportFrom):
        names = [node.module]
      for name in names:
        assert name.split(".")[0] in {*sys.stdlib_module_names, "orchestration"}, (path, name)


def test_nobody_waits_for_output_that_a_background_child_holds_open(cloud: Cloud):
  begun = time.monotonic()
  done = run(cloud, *SLICE, *HERE, "--WORKER=0", "--COMMAND=sleep 466 & echo started")
  assert done.returncode == 0
  assert time.monotonic() - begun < 400


# A worker fails soon, after a last word; the others print without end.
FLOOD = (
  "if [ $STANDIN_WORKER = qr-v4-32/2 ]; then sleep 1; echo last; exit 3; fi; exec yes 0123456789"
)


def test_a_flood_of_output_does_not_keep_a_failure_from_being_seen(cloud: Cloud):
  line = (*SLICE, *HERE, f"--COMMAND={FLOOD}")
  with started(cloud, *line, stdout=subprocess.DEVNULL) as runner:
    assert runner.wait(60) == 3
  assert sleeping(cloud, "0123456789") == []
  assert log(cloud, 2).endswith("last\n")


def test_a_terminal_that_takes_nothing_does_not_hold_up_the_run(cloud: Cloud):
  """Somebody has pressed Ctrl-S, or reads in a pager."""
  reader, terminal = os.pipe()
  try:
    with started(cloud, *SLICE, *HERE, f"--COMMAND={FLOOD}", stdout=terminal) as runner:
      assert runner.wait(60) == 3
  finally:
    os.close(reader)
    os.close(terminal)
  assert sleeping(cloud, "0123456789") == []
  assert log(cloud, 2).endswith("last\n")


def test_a_reader_that_goes_away_does_not_change_the_exit_status(cloud: Cloud):
  reader, terminal = os.pipe()
  with started(
    cloud, *SLICE, *HERE, "--COMMAND=seq 9999; exit 7", stdout=terminal, stderr=terminal
  ) as runner:
    os.close(terminal)
    os.read(reader, 1)
    os.close(reader)
    assert runner.wait(60) == 7


def test_all_output_arrives_before_the_end(cloud: Cloud):
  line = "head -c 3000000 /dev/zero | tr '\\0' x; printf end"
  assert run(cloud, *SLICE, *HERE, f"--COMMAND={line}").returncode == 0
  for worker in range(4):
    text = log(cloud, worker)
    assert text.count("x") >= 3_000_000
    assert text.endswith("xend")


def test_a_process_that_leaves_session_and_environment_is_stopped(cloud: Cloud):
  mark = f"{cloud.folder}/left"
  (cloud.folder / "left").symlink_to("/bin/sleep")
  line = f"env -i setsid {mark} 366 & sleep 1; [ $STANDIN_WORKER != qr-v4-32/1 ] || exit 5; wait"
  assert run(cloud, *SLICE, *HERE, f"--COMMAND={line}").returncode == 5

  def left() -> list[str]:
    done = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if line == f"{mark} 366"]

  wait_for(lambda: not left())


def test_a_worker_that_is_not_there_is_an_error(cloud: Cloud):
  done = run(cloud, *SLICE, *HERE, "--WORKER=0,9", "--COMMAND=echo never")
  assert done.returncode == 1
  assert "error: --WORKER: no worker 9 in qr-v4-32; there are 0 to 3" in done.stderr
  assert "never" not in done.stdout


@pytest.mark.parametrize("name", [".", "a/./b", "..", "a b", "/abs", "~other/x", "-x"])
def test_a_run_name_that_is_no_folder_of_its_own_is_an_error(cloud: Cloud, name: str):
  done = run(cloud, *SLICE, f"--RUN_NAME={name}", "--COMMAND=true")
  assert done.returncode == 1
  assert f"error: --RUN_NAME={name}: expected" in done.stderr
  assert cloud.calls() == []


def test_a_run_name_may_begin_with_the_home_folder(cloud: Cloud):
  done = run(
    cloud, *SLICE, "--USE_EXISTING_FOLDER=true", "--RUN_NAME=~/work", "--COMMAND=pwd > here"
  )
  assert done.returncode == 0, done.stderr
  assert (cloud.home("qr-v4-32", 0) / "work/here").exists()


def test_a_log_folder_that_cannot_be_made_is_an_error(cloud: Cloud):
  done = run(cloud, *SLICE, *HERE, "--LOG_DIR=/dev/null/logs", "--COMMAND=true")
  assert done.returncode == 1
  assert "error: no logs can be written in /dev/null/logs" in done.stderr
