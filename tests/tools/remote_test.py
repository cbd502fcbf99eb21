"""tools/remote.py as its users meet it: deploy, wrong usage, and a terminal."""

import os
import shlex
import shutil
import subprocess
import tempfile

import pytest
import remote
from orchestration.remote_arguments import parse
from orchestration.ssh_host import SshHost
from standins.gpu_host import wait_until

pytestmark = pytest.mark.integration_test


class Terminal:
  """A terminal of 100 x 24 characters with a shell in the project, by a tmux of its own."""

  def __init__(self, host):
    self.host = host
    self.folder = tempfile.mkdtemp(prefix="terminal-", dir="/tmp")
    self.tmux("new-session", "-d", "-x", "100", "-y", "24", "bash", "--norc", "-i")
    self.tmux("set-option", "-g", "prefix", "None")  # Ctrl-b is for the tmux on the host

  def tmux(self, *arguments):
    command = ["tmux", "-S", f"{self.folder}/socket", "-f", "/dev/null", *arguments]
    environment = self.host.environment
    return subprocess.run(
      command, env=environment, check=True, capture_output=True, text=True
    ).stdout

  def run(self, command, *options):
    """Types a command line of remote.py, with its exit status behind it."""
    line = shlex.join(self.host.command(command, *options))
    self.keys(f"clear; {line}; echo exit status $?", "Enter")

  def keys(self, *keys):
    self.tmux("send-keys", *keys)

  def screen(self):
    return self.tmux("capture-pane", "-p", "-J")

  def wait_for(self, text):
    wait_until(lambda: text in self.screen())
    return self.screen()

  def close(self):
    self.tmux("kill-server")
    shutil.rmtree(self.folder)


@pytest.fixture
def terminal(host):
  host.install()
  made = Terminal(host)
  yield made
  made.close()


def test_ctrl_b_d_leaves_the_run_and_attach_comes_back(host, terminal):
  run = "echo step $((0+1)); until [ -e go ]; do sleep 0.1; done; echo step $((1+1)); exit 3"
  terminal.run("start", "--experiment", "tiny", f"run={run}")
  assert "Ctrl-b d leaves the run going" in terminal.wait_for("step 1")
  terminal.keys("C-b", "d")
  shown = terminal.wait_for("exit status 0")
  port = host.sshd.port
  assert f"tiny goes on; see it with: tools/remote.py attach 127.0.0.1 {port} --session-n" in shown
  terminal.run("attach")
  terminal.wait_for("step 1")
  (host.code / "go").touch()
  shown = terminal.wait_for("exit status 3")
  assert "step 2\n" in shown
  assert "tiny ended with status 3\n" in shown


def test_a_lost_connection_gives_the_terminal_back_and_the_run_goes_on(host, terminal):
  terminal.run("start", "--experiment", "tiny", "run=echo step 1; sleep 60")
  terminal.wait_for("Ctrl-b d leaves the run going")
  wait_until(host.sshd.drop_connections)
  shown = terminal.wait_for("exit status 255")
  assert f"error: the connection to 127.0.0.1 port {host.sshd.port} was lost; tiny goes on" in shown
  assert "Ctrl-b d leaves the run going" not in shown  # tmux had the other screen
  terminal.run("attach")
  terminal.wait_for("Ctrl-b d leaves the run going")
  terminal.keys("C-c")
  assert "tiny ended with status 130 (SIGINT)" in terminal.wait_for("exit status 130")


def test_a_terminal_that_the_host_does_not_know_is_no_hindrance(host, terminal):
  terminal.keys("export TERM=xterm-of-the-future", "Enter")
  terminal.run("start", "--experiment", "tiny", "run=echo step 1; sleep 60")
  terminal.wait_for("Ctrl-b d leaves the run going")
  terminal.keys("C-b", "d")
  terminal.wait_for("exit status 0")


def test_deploy_makes_a_host_ready(host):
  host.write(
    "setup/setup_cuda_worker.sh", "echo {1..99} | tr ' ' '\\n'; cp training ~/; . setup/rest.sh\n"
  )
  rest = "mkdir -p ~/venv-maxtext/bin; cp training ~/venv-maxtext/bin/maxtext-ext; echo 8 GPUs\n"
  host.write("setup/rest.sh", rest)
  host.git("add", "--all")
  for _ in range(2):
    finished = host.run("deploy")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines() == [*(str(n) for n in range(71, 100)), "8 GPUs"]
    assert finished.stderr.splitlines()[-1] == f"deployed to 127.0.0.1:{host.code}"
  assert host.run("start", "--experiment", "tiny", "run=exit 5").returncode == 5


def test_deploy_shows_the_end_of_a_failed_setup(host):
  setup = "echo {1..200} | tr ' ' '\\n'; echo no driver >&2; exit 7\n"
  host.write("setup/setup_cuda_worker.sh", setup)
  finished = host.run("deploy")
  assert finished.returncode == 255
  assert finished.stdout == ""
  lines = finished.stderr.splitlines()
  shown = [str(n) for n in range(122, 201)]
  first = lines.index("122")
  assert "121" not in lines
  assert lines[first : first + 80] == [*shown, "no driver"]
  log = host.home / ".maxtext-sessions/dependencies.log"
  assert lines[-1] == (
    "error: 127.0.0.1: setup/setup_cuda_worker.sh ended with status 7; "
    f"above are the last lines of {log} there"
  )


def test_deploy_installs_tmux_where_it_is_absent(host):
  tmux = (host.sshd.bin / "tmux").readlink()
  (host.sshd.bin / "tmux").unlink()
  finished = host.run("deploy", "--skip-sync", "--skip-deps")
  assert finished.returncode == 255
  assert finished.stderr.splitlines()[-1] == (
    "error: 127.0.0.1: no tmux, nor apt-get to install it; install tmux there by hand"
  )
  (host.sshd.bin / "ln").symlink_to(shutil.which("ln"))
  apt = 'echo "apt-get: $*"; [[ $* != *install* ]] || exit ${STATUS-100}'
  for program in ("apt-get", "sudo"):  # sudo, where the tests are not run by root
    host.sshd.add(host.sshd.bin / program, apt)
  finished = host.run("deploy", "--skip-sync", "--skip-deps")
  assert finished.returncode == 255
  assert "install -y tmux rsync\n" in finished.stderr
  assert "apt-get install tmux rsync ended with status 100; above are" in finished.stderr
  for program in ("apt-get", "sudo"):
    host.sshd.add(
      host.sshd.bin / program, f"[[ $* != *install* ]] || ln -s {tmux} {host.sshd.bin}/tmux"
    )
  finished = host.run("deploy", "--skip-sync", "--skip-deps")
  assert finished.returncode == 0, finished.stderr
  assert (host.sshd.bin / "tmux").exists()


def test_deploy_skips_what_it_is_told_to_skip(host):
  (host.sshd.bin / "tmux").unlink()
  host.write("setup/setup_cuda_worker.sh", "exit 1\n")
  finished = host.run("deploy", "--skip-setup", "--skip-sync", "--skip-deps")
  assert finished.returncode == 0, finished.stderr
  assert not host.code.exists()


def test_deploy_needs_files_that_git_tracks(host):
  host.git("rm", "-r", "--quiet", "--cached", ".")
  finished = host.run("deploy")
  assert finished.returncode == 255
  assert f"error: {host.project}: git tracks none of its files; git add them" in finished.stderr


def test_the_code_is_in_workspace_where_there_is_one(host, monkeypatch):
  monkeypatch.setenv("PATH", host.environment["PATH"])
  there = SshHost("127.0.0.1", host.sshd.port, host.sshd.user)
  default = "/workspace/maxtext" if os.access("/workspace", os.W_OK) else f"{host.home}/maxtext"
  for wanted, folder in (
    ("", default),
    ("~/a b", f"{host.home}/a b"),
    ("~", f"{host.home}"),
    ("code", f"{host.home}/code"),
    ("/data/code", "/data/code"),
  ):
    assert ["dir", folder] in there.call("probe", wanted)


@pytest.mark.parametrize(
  "text", ["tiny", "tiny.yml", "configs/experiments/tiny.yml", "./configs/experiments/tiny"]
)
def test_an_experiment_is_a_name_or_a_path(text):
  assert parse(["start", "h", "22", "--experiment", text], "", "").experiment == "tiny"


@pytest.mark.parametrize(
  ("arguments", "reason"),
  [
    ("", "the following arguments are required: COMMAND"),
    ("start h 22", "the following arguments are required: --experiment"),
    ("start h 22 --experiment a/b", "argument --experiment: 'a/b', expected the name of a file of"),
    ("start h 22 --experiment ../x", "argument --experiment: '../x', expected"),
    ("start h 22 --experiment a --session-name 'a b'", "'a b', expected letters, digits, - and _"),
    ("start h 22 --experiment a --session-name a.b", "'a.b', expected letters, digits, - and _"),
    (f"start h 22 --experiment a --session-name {'a' * 41}", "at most 40"),
    ("start h 22 --experiment a --env TOKEN=x", "'TOKEN=x', expected the name of a variable, with"),
    ("start h 22 --experiment a steps", "'steps', expected KEY=VALUE"),
    ("start h 22 --experiment a --steps=3", "unknown argument --steps=3"),
    ("start h 22 --experiment a --grace -1", "argument --grace"),
    ("deploy h 22 -oProxyCommand=x", "unknown argument -oProxyCommand=x"),
    ("deploy ' -oProxyCommand=x' 22", "argument HOST: ' -oProxyCommand=x', expected a name or"),
    ("deploy 'h; x' 22", "argument HOST: 'h; x', expected a name or an address"),
    ("deploy h 0", "argument PORT: '0', expected a number from 1 to 65535"),
    ("deploy h 65536", "argument PORT: '65536', expected a number from 1 to 65535"),
    ("deploy h ٢٢", "argument PORT: '٢٢', expected a number"),
    ("deploy h 22 a=b", "unknown argument a=b"),
    ("deploy h 22 --user=-x", "argument --user: '-x', expected the name of a user"),
    ("deploy h 22 --key /absent", "--key /absent: no such file"),
    ("attach h 22 --lines 0", "argument --lines: '0', expected a number from 1 to"),
  ],
)
def test_refuses_wrong_usage(arguments, reason, capsys):
  with pytest.raises(SystemExit) as ended:
    remote.main(shlex.split(arguments))
  assert ended.value.code == 2
  assert reason in capsys.readouterr().err.splitlines()[-1]
