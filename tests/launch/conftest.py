"""The engines' own environment, for tests that hold our files against them."""

import os
import pathlib
import subprocess

import pytest

from maxtext_ext.launch.engines import ENVIRONMENT

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="session")
def engine_bin():
  """The programs of setup/install_engines.sh; skips without them, which CI does not allow."""
  folder = ROOT / ENVIRONMENT / "bin"
  if not (folder / "sky").is_file():
    reason = f"no {ENVIRONMENT}: setup/install_engines.sh makes it"
    if os.environ.get("CI") == "true":
      pytest.fail(reason)
    pytest.skip(reason)
  return folder


@pytest.fixture
def engine(engine_bin, tmp_path):
  """Runs a program of that environment, away from the user's own files and without reports home."""

  def run(program: str, *args: str, cwd: pathlib.Path = ROOT) -> subprocess.CompletedProcess:
    environment = {
      "PATH": f"{engine_bin}:/usr/bin:/bin",
      "HOME": os.fspath(tmp_path / "home"),
      "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
      "TELEMETRY_ENABLED": "false",
      "RAY_USAGE_STATS_ENABLED": "0",
    }
    (tmp_path / "home").mkdir(exist_ok=True)
    command = [engine_bin / program, *args]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True)

  return run


@pytest.fixture
def launch(capsys):
  """Runs `maxtext-ext launch ARGS`; returns exit status, standard output and error."""
  from maxtext_ext.cli import main

  def run(*args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exited:
      main(["launch", *args])
    captured = capsys.readouterr()
    return exited.value.code or 0, captured.out, captured.err

  return run
