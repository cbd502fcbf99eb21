"""Code of a Hugging Face job: a clone of what was pushed, or the checkout in the request."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from maxtext_ext.launch import code
from maxtext_ext.launch.job import Job, read_job

CONFIG = "configs/experiments/demo.yml"
ROOT = pathlib.Path(__file__).parents[2]


def run_git(folder, *args):
  identity = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t"}
  identity |= {"GIT_COMMITTER_EMAIL": "t@t", "GIT_CONFIG_GLOBAL": os.devnull}
  command = ["git", "-C", os.fspath(folder), *args]
  subprocess.run(command, env={**os.environ, **identity}, check=True, capture_output=True)


def job_in(root: pathlib.Path, *files: str) -> Job:
  settings = read_job("train", CONFIG, [], "").settings
  files = files or (CONFIG,)
  return Job(
    task="train",
    config=files[-1],
    config_files=files,
    overrides=(),
    name="demo",
    root=root,
    settings=settings,
  )


@pytest.fixture
def checkout(tmp_path):
  """A small repository like ours, cloned from a bare one that stands for a public server."""
  root = tmp_path / "checkout"
  for name in (CONFIG, "pyproject.toml", "setup/run me.sh", "maxtext_ext/__init__.py"):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(f"# {name}\n")
  (root / "setup/run me.sh").chmod(0o755)
  (root / "tests").mkdir()
  (root / "tests/large.npz").write_text("not needed by a job")
  run_git(root, "init", "-b", "main")
  run_git(root, "add", ".")
  run_git(root, "commit", "-m", "first")
  server = tmp_path / "server.git"
  run_git(tmp_path, "clone", "--bare", os.fspath(root), os.fspath(server))
  run_git(root, "remote", "add", "origin", "https://127.0.0.1:1/server.git")
  # What git sends to that address goes to the folder.
  run_git(root, "config", f"url.{server}.insteadOf", "https://127.0.0.1:1/server.git")
  run_git(root, "fetch", "origin")
  return root


def unpack(found: code.Code, home: pathlib.Path) -> pathlib.Path:
  """Runs the script as a job does; returns the folder that it makes."""
  home.mkdir(parents=True)
  command = ["bash", "-c", f"set -euo pipefail\n{found.script}\npwd", "x", *found.arguments]
  environment = {"PATH": os.environ["PATH"], "HOME": os.fspath(home)}
  finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
  assert finished.stdout == f"{home}/maxtext\n"
  return home / "maxtext"


def test_a_pushed_commit_is_cloned(checkout):
  found = code.choose(job_in(checkout), "auto")
  assert found.arguments == ()
  assert "git clone --quiet https://127.0.0.1:1/server.git" in found.script
  head = subprocess.run(
    ["git", "-C", checkout, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
  ).stdout.strip()
  assert f"git checkout --quiet {head}" in found.script


def change(checkout):
  (checkout / "pyproject.toml").write_text("changed")


def commit(checkout):
  change(checkout)
  run_git(checkout, "commit", "-a", "-m", "second")


def forget_remote(checkout):
  run_git(checkout, "remote", "remove", "origin")


def make_private(checkout):
  shutil.rmtree(checkout.parent / "server.git")


def never_commit(checkout):
  shutil.rmtree(checkout / ".git")
  run_git(checkout, "init")
  run_git(checkout, "add", ".")


REASONS = {
  change: "pyproject.toml is not as committed",
  commit: "the commit is on no branch of the remote",
  forget_remote: "there is no remote `origin`",
  make_private: "https://127.0.0.1:1/server.git cannot be read without a password",
  never_commit: "there is no commit",
}


@pytest.mark.parametrize("prepare", REASONS, ids=lambda f: f.__name__)
def test_what_cannot_be_cloned_travels_in_the_request(checkout, prepare, tmp_path):
  prepare(checkout)
  with pytest.raises(ValueError, match=f"--code git: {REASONS[prepare]}.*or take --code inline"):
    code.choose(job_in(checkout), "git")
  found = code.choose(job_in(checkout), "auto")
  assert REASONS[prepare] in found.said
  copy = unpack(found, tmp_path / "home")
  assert (copy / "pyproject.toml").read_text() == (checkout / "pyproject.toml").read_text()
  assert os.access(copy / "setup/run me.sh", os.X_OK)
  assert not (copy / "tests").exists()


def test_an_untracked_configuration_travels_too_and_other_files_do_not(checkout, tmp_path):
  (checkout / "mine.yml").write_text("base_config: configs/speech.yml\n")
  (checkout / "configs/private.yml").write_text("secret: 1\n")
  job = job_in(checkout, CONFIG, "mine.yml")
  with pytest.raises(ValueError, match=r"configs/private.yml is not as committed|mine.yml is not"):
    code.choose(job, "git")
  copy = unpack(code.choose(job, "inline"), tmp_path / "home")
  assert (copy / "mine.yml").is_file()
  assert not (copy / "configs/private.yml").exists()


def test_an_unpacked_archive_without_git_travels(checkout, tmp_path):
  shutil.rmtree(checkout / ".git")
  (checkout / "maxtext_ext/__pycache__").mkdir()
  (checkout / "maxtext_ext/__pycache__/x.pyc").write_text("")
  copy = unpack(code.choose(job_in(checkout), "auto"), tmp_path / "home")
  assert (copy / CONFIG).is_file()
  assert not (copy / "maxtext_ext/__pycache__").exists()


def test_a_password_in_the_address_is_not_sent(checkout):
  run_git(checkout, "remote", "set-url", "origin", "https://me:pa55@127.0.0.1:1/server.git")
  found = code.choose(job_in(checkout), "auto")
  assert "git clone --quiet https://127.0.0.1:1/server.git" in found.script
  assert "pa55" not in found.script + found.said


@pytest.mark.parametrize(
  "address", ["git@github.com:me/asr.git", "ssh://git@github.com/me/asr.git"]
)
def test_an_address_of_ssh_is_cloned_by_https(checkout, address):
  run_git(checkout, "remote", "set-url", "origin", address)
  run_git(
    checkout,
    "config",
    f"url.{checkout.parent}/server.git.insteadOf",
    "https://github.com/me/asr.git",
  )
  assert "https://github.com/me/asr.git ~/maxtext" in code.choose(job_in(checkout), "auto").script


def test_this_repository_as_it_travels_runs_its_command(tmp_path):
  found = code.choose(job_in(ROOT), "inline")
  assert all(len(argument.encode()) < 128 * 1024 for argument in found.arguments)
  copy = unpack(found, tmp_path / "home")
  finished = subprocess.run(
    [sys.executable, "-m", "maxtext_ext.cli", "--help"],
    cwd=copy,
    env={**os.environ, "PYTHONPATH": os.fspath(copy)},
    capture_output=True,
    text=True,
    check=True,
  )
  assert "launch" in finished.stdout
  for name in (CONFIG, "setup/install.sh", "pyproject.toml", "setup/constraints.txt"):
    assert (copy / name).read_bytes() == (ROOT / name).read_bytes()
