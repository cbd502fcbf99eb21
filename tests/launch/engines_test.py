"""Starting an engine's own program, with one on PATH that notes what it is given."""

import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = "configs/experiments/demo.yml"
PROGRAM = """#!/bin/sh
pwd > "{notes}/folder"
for word in "$@"; do printf '%s\\n' "$word"; done > "{notes}/words"
for word in "$@"; do :; done
[ ! -f "$word" ] || cp "$word" "{notes}/file"
{end}
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
  """Puts a program on PATH; returns the folder of its notes."""

  def put(name: str, end: str = "exit 0") -> pathlib.Path:
    notes = tmp_path / "notes"
    (tmp_path / "bin").mkdir()
    notes.mkdir()
    path = tmp_path / "bin" / name
    path.write_text(PROGRAM.format(notes=notes, end=end))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return notes

  return put


@pytest.fixture
def written():
  """Files below the root that a test makes."""
  names = [f"out/launch/test-{os.getpid()}.sky.yml", f"test_{os.getpid()}_ray.py"]
  yield [ROOT / name for name in names]
  for name in names:
    (ROOT / name).unlink(missing_ok=True)


def test_sky_starts_the_file_from_the_root_of_the_checkout(launch, program, written, monkeypatch):
  notes = program("sky")
  monkeypatch.chdir(notes)
  monkeypatch.delenv("HF_TOKEN", raising=False)
  name = f"test-{os.getpid()}"
  _, shown, _ = launch("sky", CONFIG, "--name", name, "--dry-run")
  assert not written[0].exists()
  status, out, err = launch("sky", CONFIG, "--name", name)
  assert (status, out) == (0, "")
  assert written[0].read_text() == (notes / "file").read_text() == shown
  assert (notes / "folder").read_text() == f"{ROOT}\n"
  words = ["jobs", "launch", "--yes", "--name", name, f"out/launch/{name}.sky.yml"]
  assert (notes / "words").read_text().splitlines() == words
  assert "sky.yml is written" in err


def test_the_file_goes_where_it_is_asked_for(launch, program, tmp_path, monkeypatch):
  notes = program("sky")
  monkeypatch.chdir(tmp_path)
  assert launch("sky", CONFIG, "--output", "new/task.yml")[0] == 0
  assert (notes / "file").read_text() == (tmp_path / "new/task.yml").read_text()


def test_the_entry_of_ray_is_removed_when_it_was_sent(launch, program, written):
  notes = program("ray")
  assert launch("ray", CONFIG, "--name", f"test-{os.getpid()}")[0] == 0
  assert "JaxTrainer(" in (notes / "file").read_text()
  assert not written[1].exists()


def test_a_file_of_somebody_else_is_not_sent_and_removed(launch, program, written):
  program("ray")
  written[1].write_text("mine\n")
  status, _, err = launch("ray", CONFIG, "--name", f"test-{os.getpid()}")
  assert status == 2
  assert f"{written[1]} is there already" in err
  assert written[1].read_text() == "mine\n"


@pytest.mark.parametrize("engine", ["sky", "xpk", "ray", "hf"])
def test_the_configuration_is_not_written_over(launch, engine):
  before = (ROOT / CONFIG).read_bytes()
  status, _, err = launch(engine, CONFIG, "--output", str(ROOT / CONFIG), "--dry-run")
  assert status == 2
  assert "the configuration itself; name another file" in err
  assert (ROOT / CONFIG).read_bytes() == before


@pytest.mark.parametrize(
  ("end", "expected"), [("exit 3", 3), ("kill -9 $$", 137)], ids=["status", "signal"]
)
def test_a_failure_of_the_engine_is_one_of_the_command(launch, program, end, expected):
  program("xpk", end)
  assert launch("xpk", CONFIG, "--cluster", "c")[0] == expected


@pytest.mark.parametrize("name", ["sky", "xpk", "ray"])
def test_without_the_engine_it_says_how_to_get_it(launch, monkeypatch, name):
  monkeypatch.setenv("PATH", "/nowhere")
  monkeypatch.setattr("maxtext_ext.launch.engines.ENVIRONMENT", ".venv-of-no-engines")
  status, out, err = launch(name, CONFIG)
  assert (status, out) == (2, "")
  assert f"{name} is not installed: setup/install_engines.sh puts it into" in err
  assert "--dry-run" in err
