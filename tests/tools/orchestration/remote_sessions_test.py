import os
import pathlib
import signal
import subprocess
import time

import pytest
from orchestration.remote_sessions import Session, find_session
from orchestration.ssh_host import HostError
from standins.gpu_host import TOKEN, wait_until

pytestmark = [pytest.mark.integration_test, pytest.mark.slow]


@pytest.fixture
def ready(host):
  """The host as deploy leaves it."""
  host.install()
  return host


def start(host, run, *options):
  return host.run("start", "--experiment", "tiny", f"run={run}", *options)


def start_only(host, run, *options):
  finished = start(host, run, "--no-attach", *options)
  assert finished.returncode == 0, finished.stderr
  return finished


@pytest.mark.parametrize(
  ("run", "status", "said"),
  [
    ("true", 0, "tiny ended with status 0"),
    ("exit 3", 3, "tiny ended with status 3"),
    ("kill -KILL $$", 137, "tiny ended with status 137 (SIGKILL)"),
  ],
)
def test_keeps_the_exit_status(ready, run, status, said):
  started = start(ready, run)
  assert started.returncode == status
  assert started.stderr.splitlines()[-1] == said
  attached, asked = ready.run("attach"), ready.run("status")
  assert (attached.returncode, attached.stderr) == (status, f"{said}\n")
  assert asked.returncode == status
  assert asked.stdout.startswith(f"{said}\n  maxtext-ext train configs/experiments/tiny.yml ")
  assert ready.run("logs").returncode == 0


def test_arguments_arrive_as_they_were_given(ready):
  values = ["a=two words", "b='\"\\", "c=عربي", "d=$(touch x) `y` *", "e=line\nend", "f="]
  finished = start(ready, "true", *values)
  wanted = "".join(f"<{value}>" for value in ["run=true", *values])
  assert f"<train><configs/experiments/tiny.yml>{wanted}\n" in finished.stdout


def test_tokens_are_in_the_environment_of_the_training_alone(ready):
  ready.environment["OTHER"] = "another secret\nof two lines"
  run = 'printf "%s|%s|" "${HF_TOKEN:5}" "${OTHER:8}"; touch up; sleep 60'
  said = start_only(ready, run, "--env", "OTHER")
  wait_until((ready.code / "up").exists)
  assert "|secret\nof two lines|" in ready.log()
  assert f"{TOKEN[5:]}|" in ready.log()
  assert "with HF_TOKEN, OTHER in its environment" in said.stderr
  leader = int(pids(ready)[2])
  holders, shown = set(), []
  for process in pathlib.Path("/proc").glob("[0-9]*"):
    try:
      shown.append((process / "cmdline").read_bytes())
      if TOKEN.encode() in (process / "environ").read_bytes():
        holders.add(int(process.name))
    except OSError:  # it has ended
      continue
  # The training, what it starts, and the runner of the session that gave it the token: no tmux.
  assert any(os.getpgid(pid) == leader for pid in holders)
  assert all(os.getsid(pid) == os.getsid(leader) for pid in holders)
  servers = list(pathlib.Path(ready.sshd.sockets).glob("*/*"))
  assert len(servers) == 1
  for scope in ("-g", "-t tiny"):
    command = ["tmux", "-S", servers[0], "show-environment", *scope.split()]
    shown.append(subprocess.run(command, check=True, capture_output=True).stdout)
  command = ["tmux", "-S", servers[0], "show-options", "-g"]
  shown.append(subprocess.run(command, check=True, capture_output=True).stdout)
  shown += [path.read_bytes() for path in ready.home.rglob("*") if path.is_file()]
  assert len(shown) > 10
  secret = ready.environment["OTHER"].encode()
  assert not any(TOKEN.encode() in text or secret in text for text in shown)


def test_refuses_a_token_in_an_argument(ready):
  finished = start(ready, f"echo {TOKEN}")
  assert finished.returncode == 255
  assert "the value of HF_TOKEN is in an argument, where ps and logs show it" in finished.stderr
  assert TOKEN not in finished.stderr
  finished = start(ready, "true", "hf_access_token=hf_another-token")
  assert finished.returncode == 255
  assert "hf_access_token=... is an argument, where ps and logs show it" in finished.stderr
  assert "another" not in finished.stderr
  assert not ready.log()


def test_a_start_whose_connection_breaks_says_where_to_look(ready):
  # In place of the program: an end of the sshd that serves this connection.
  ready.sshd.add(ready.sshd.bin / "mkfifo", 'kill -KILL "$(cut -d " " -f 4 "/proc/$PPID/stat")"')
  finished = start(ready, "true")
  assert finished.returncode == 255
  assert "; tiny may have started, see: tools/remote.py status 127.0.0.1 " in finished.stderr


def test_says_which_variable_is_not_set(ready):
  finished = start(ready, "true", "--env", "UNSET_1")
  assert finished.returncode == 255
  assert finished.stderr == "error: UNSET_1: not set here; export it, or leave out --env\n"


def test_a_second_start_is_refused_unless_forced(ready):
  start_only(ready, "trap 'echo saved; exit 5' TERM; touch first; while :; do sleep 0.1; done")
  wait_until((ready.code / "first").exists)
  before = pids(ready)
  second = start(ready, "true", "--no-attach")
  assert second.returncode == 255
  assert "tiny runs already; attach to it, stop it, or start with --force" in second.stderr
  assert pids(ready) == before
  start_only(ready, "sleep 60", "--force")
  assert pids(ready) != before
  assert "saved\n" in ready.log()
  assert "ended with status 5\n" in ready.log()
  start_only(ready, "sleep 60", "--session-name", "other-1")
  asked = ready.run("status")
  assert asked.returncode == 255
  assert "several sessions run: tiny, other-1; choose with --session-name" in asked.stderr
  listed = ready.run("attach", "--list").stdout.splitlines()
  assert [line.split()[0] for line in listed[::2]] == ["tiny", "other-1"]


def test_stop_ends_the_process_group_of_this_run_only(ready):
  bystander = subprocess.Popen(["bash", "-c", "exec -a maxtext-ext sleep 60"])
  try:
    start_only(ready, "sleep 60", "--session-name", "other")
    start_only(ready, "trap 'exit 9' TERM; sleep 61 & touch up; while :; do sleep 0.1; done")
    wait_until((ready.code / "up").exists)
    child = children_of(pids(ready)[2])[0]
    stopped = ready.run("stop", "--session-name", "tiny")
    assert (stopped.returncode, stopped.stdout) == (0, "tiny ended with status 9\n")
    assert not lives(child)
    assert bystander.poll() is None
    assert ready.run("status", "--session-name", "other").returncode == 0
    again = ready.run("stop", "--session-name", "tiny")
    assert (again.returncode, again.stdout) == (0, "tiny ended with status 9\n")
    assert ready.run("status", "--session-name", "tiny").returncode == 9
  finally:
    bystander.kill()
    bystander.wait()


def test_stop_kills_what_does_not_end_in_time(ready):
  start_only(ready, "trap '' TERM; touch up; while :; do sleep 1; done")
  wait_until((ready.code / "up").exists)
  stopped = ready.run("stop", "--grace", "1")
  assert stopped.returncode == 0, stopped.stderr
  assert stopped.stdout == "tiny ended with status 137 (SIGKILL)\n"


@pytest.mark.parametrize(("then", "status"), [(signal.SIGCONT, 3), (signal.SIGKILL, 137)])
def test_a_run_that_is_halted_has_not_ended(ready, then, status):
  start_only(ready, "touch up; until [ -e go ]; do sleep 0.1; done; exit 3")
  wait_until((ready.code / "up").exists)
  leader = int(pids(ready)[2])
  os.killpg(leader, signal.SIGSTOP)
  time.sleep(1)
  assert ready.run("status").stdout.startswith("tiny runs")
  (ready.code / "go").touch()
  os.killpg(leader, then)
  wait_until(lambda: ready.run("status").returncode == status)


def test_children_do_not_outlive_the_training(ready):
  finished = start(ready, "sleep 300 & echo child $!; exit 4")
  assert finished.returncode == 4
  child = next(line for line in finished.stdout.splitlines() if line.startswith("child "))
  assert not lives(int(child.split()[1]))


def test_a_run_goes_on_through_a_lost_connection_and_no_line_is_lost(ready):
  run = "for n in {1..400}; do echo line $n; sleep 0.01; done; touch halfway; "
  run += "until [ -e lost ]; do sleep 0.1; done; for n in {401..800}; do echo line $n; done; exit 6"
  watching = ready.popen("start", "--experiment", "tiny", f"run={run}")
  wait_until((ready.code / "halfway").exists)
  assert ready.sshd.drop_connections()
  (ready.code / "lost").touch()
  said = watching.communicate(timeout=60)[0].splitlines()
  assert watching.returncode == 6
  assert [line for line in said if line.startswith("line ")] == [f"line {n}" for n in range(1, 801)]
  assert any("was lost: " in line and line.endswith("; connecting again") for line in said)


def test_a_run_goes_on_without_its_tmux(ready):
  run = (
    "echo up; until [ -e go ]; do sleep 0.1; done; for n in {1..99}; do echo line $n; done; exit 6"
  )
  start_only(ready, run)
  for server in pathlib.Path(ready.sshd.sockets).glob("*/*"):
    subprocess.run(["tmux", "-S", server, "kill-server"], check=True)
  watching = ready.popen("attach")
  (ready.code / "go").touch()
  said = watching.communicate(timeout=60)[0]
  assert watching.returncode == 6
  assert said.endswith("line 99\n" + said.splitlines()[-2] + "\ntiny ended with status 6\n")
  assert "".join(f"line {n}\n" for n in range(1, 100)) in ready.log()


def test_ctrl_c_leaves_a_run_that_is_watched(ready):
  watching = ready.popen("start", "--experiment", "tiny", "run=echo up; sleep 60")
  wait_until(lambda: "up\n" in ready.log())
  wait_until(lambda: "up\n" in watching.stdout.readline())
  watching.send_signal(signal.SIGINT)
  said = watching.communicate(timeout=60)[0]
  assert watching.returncode == 130
  hint = f"tools/remote.py attach 127.0.0.1 {ready.sshd.port} --session-name tiny"
  assert f"tiny goes on; see it with: {hint}\n" in said
  assert ready.run("status").stdout.startswith("tiny runs since ")


def test_a_run_that_was_lost_with_its_host_is_no_success(ready):
  start_only(ready, "sleep 60")
  runner, _, leader, _ = pids(ready)
  os.kill(runner, signal.SIGKILL)
  os.killpg(leader, signal.SIGKILL)
  wait_until(lambda: not lives(runner) and not lives(leader))
  asked = ready.run("status")
  assert asked.returncode == 255
  assert asked.stdout.startswith("tiny is gone without a status: the host was restarted, or it was")
  assert ready.run("stop").returncode == 0
  assert start(ready, "exit 2").returncode == 2


def test_logs_show_the_last_lines_and_follow(ready):
  start_only(ready, "for n in {1..9}; do echo line $n; done; until [ -e go ]; do sleep 0.1; done")
  wait_until(lambda: "line 9\n" in ready.log())
  for command in (["logs"], ["attach", "--logs"]):
    assert ready.run(*command, "--lines", "2").stdout == "line 8\nline 9\n"
  following = ready.popen("logs", "--follow", "--lines", "1")
  assert following.stdout.readline() == "line 9\n"
  (ready.code / "go").touch()
  assert "ended with status 0" in following.communicate(timeout=60)[0]
  assert following.returncode == 0


@pytest.mark.parametrize(
  ("lacking", "reason"),
  [
    ("tmux", "127.0.0.1: no tmux; deploy installs it"),
    ("maxtext-ext", "maxtext-ext is not installed; deploy without --skip-deps"),
    ("flock", "127.0.0.1: no flock; install util-linux"),
    ("config", "no configs/experiments/tiny.yml in "),
    ("session", "no session tiny on the host; there is none"),
  ],
)
def test_says_what_the_host_lacks(ready, lacking, reason):
  if lacking in ("tmux", "flock"):
    (ready.sshd.bin / lacking).unlink()
  elif lacking == "maxtext-ext":
    (ready.home / "venv-maxtext/bin/maxtext-ext").unlink()
  elif lacking == "config":
    (ready.code / "configs/experiments/tiny.yml").unlink()
  if lacking == "session":
    finished = ready.run("attach", "--session-name", "tiny")
  else:
    finished = start(ready, "true")
  assert finished.returncode == 255
  assert finished.stderr.startswith("error: ")
  assert finished.stderr.count("\n") == 1
  assert reason in finished.stderr


def test_finds_maxtext_ext_in_the_environment_of_the_project(ready):
  (ready.code / ".venv/bin").mkdir(parents=True)
  installed = ready.home / "venv-maxtext/bin/maxtext-ext"
  installed.rename(ready.code / ".venv/bin/maxtext-ext")
  assert start(ready, "exit 7").returncode == 7
  (ready.code / ".venv/bin/maxtext-ext").rename(ready.sshd.bin / "maxtext-ext")
  assert start(ready, "exit 8").returncode == 8


def test_chooses_the_session_that_runs_and_else_the_newest():
  def session(name, state):
    return Session(name, state, "", "", "", "")

  ended, runs, newest = session("a", "1"), session("b", "running"), session("c", "0")
  assert find_session([ended, runs, newest], None) is runs
  assert find_session([ended, newest], None) is newest
  assert find_session([ended, runs], "a") is ended
  with pytest.raises(HostError, match="no session d on the host; there is a, b"):
    find_session([ended, runs], "d")
  with pytest.raises(HostError, match="no session on the host; start one"):
    find_session([], None)


def pids(host, name="tiny"):
  """Runner and leader of a session, each with its start."""
  return [
    int(word) for word in (host.home / ".maxtext-sessions" / name / "pids").read_text().split()
  ]


def children_of(pid):
  return [
    int(word) for word in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
  ]


def lives(pid):
  try:
    return " Z " not in pathlib.Path(f"/proc/{pid}/stat").read_text()
  except (FileNotFoundError, ProcessLookupError):  # the latter when it ends just then
    return False
