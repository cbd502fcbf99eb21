"""A GPU host for tests of remote.py: real sshd and tmux, a project, stand-ins of programs."""

import os
import pathlib
import secrets
import shutil
import subprocess
import sys
import time

from standins.sshd import Sshd

ROOT = pathlib.Path(__file__).parents[2]
TOKEN = f"hf_{secrets.token_hex(16)}"  # of this process: tests look for it in all others

# Shows its arguments; RUN=... is what it does then.
TRAINING = r"""
printf '<%s>' "$@"; printf '\n'
for argument; do [[ $argument != run=* ]] || eval "${argument#run=}"; done
"""
SETUP = """
echo installing in "$PWD"
mkdir -p ~/venv-maxtext/bin
cp training ~/venv-maxtext/bin/maxtext-ext
"""


class GpuHost:
  """The host, the project on this side, and the command line between them."""

  def __init__(self, folder: pathlib.Path):
    self.sshd = Sshd(folder / "host")
    self.home = self.sshd.home
    self.code = self.home / "maxtext"
    self.project = folder / "a project"
    for name in ("tools/remote.py", ".gitignore"):
      (self.project / name).parent.mkdir(parents=True, exist_ok=True)
      shutil.copy(ROOT / name, self.project / name)
    modules = shutil.ignore_patterns("__pycache__")
    shutil.copytree(
      ROOT / "tools/orchestration", self.project / "tools/orchestration", ignore=modules
    )
    self.write("configs/experiments/tiny.yml", "steps: 1\n")
    self.write("setup/setup_cuda_worker.sh", SETUP)
    self.sshd.add(self.project / "training", TRAINING)
    self.git("init", "--quiet")
    self.git("add", "--all")
    self.environment = {
      "PATH": f"{self.sshd.client}:{os.environ['PATH']}",
      "HOME": str(folder),
      "HF_TOKEN": TOKEN,
      "TERM": "xterm",
      "LANG": "C.UTF-8",
    }

  def write(self, name: str, text: str) -> pathlib.Path:
    """Writes a file of the project."""
    path = self.project / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path

  def git(self, *arguments: str) -> None:
    """Runs git in the project."""
    subprocess.run(["git", *arguments], cwd=self.project, check=True, capture_output=True)

  def command(self, command: str, *options: str) -> list[str]:
    """Returns a command line of remote.py to this host."""
    where = ["127.0.0.1", str(self.sshd.port), "--user", self.sshd.user]
    if command in ("deploy", "start") and "--remote-dir" not in options:
      where += ["--remote-dir", "~/maxtext"]  # the default may be outside of the home folder
    return [sys.executable, str(self.project / "tools/remote.py"), command, *where, *options]

  def run(self, command: str, *options: str, **environment: str) -> subprocess.CompletedProcess:
    """Runs remote.py; its output is text."""
    return self.run_command(self.command(command, *options), **environment)

  def run_command(self, command: list[str], **environment: str) -> subprocess.CompletedProcess:
    """Runs a command line of remote.py; its output is text."""
    return subprocess.run(
      command,
      env=self.environment | environment,
      stdin=subprocess.DEVNULL,
      capture_output=True,
      text=True,
      timeout=120,
      check=False,
    )

  def popen(self, command: str, *options: str) -> subprocess.Popen:
    """Starts remote.py; its output is text, standard error included."""
    return subprocess.Popen(
      self.command(command, *options),
      env=self.environment,
      stdin=subprocess.DEVNULL,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )

  def install(self) -> None:
    """Makes the host as deploy leaves it, without ssh."""
    shutil.copytree(self.project / "configs", self.code / "configs")
    self.sshd.add(self.home / "venv-maxtext/bin/maxtext-ext", TRAINING)

  def log(self, name: str = "tiny") -> str:
    """Returns the logs of all runs of a session."""
    logs = (self.home / ".maxtext-sessions" / name).glob("log*")
    return "".join(log.read_text() for log in logs)


def wait_until(condition, seconds: float = 60):
  """Waits for a condition; returns its value."""
  until = time.monotonic() + seconds
  while not (value := condition()):
    assert time.monotonic() < until, "it did not happen"
    time.sleep(0.05)
  return value
