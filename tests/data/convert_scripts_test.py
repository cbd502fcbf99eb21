"""The scripts in data/ that convert: they hand everything on, and fail where the command does."""

import os
import pathlib
import subprocess
import sys

import pytest

from tests.conversion.small_shards import ids_of, write_shards

ROOT = pathlib.Path(__file__).parents[2]
PATH = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])

pytestmark = pytest.mark.integration_test


def run(*command: str, **environment: str) -> subprocess.CompletedProcess:
  return subprocess.run(
    command,
    cwd=ROOT,
    env={**os.environ, "PATH": PATH, "WORKERS": "1", **environment},
    capture_output=True,
    text=True,
  )


def script(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
  return run("data/convert_data.sh", *arguments, **environment)


@pytest.fixture
def corpus(tmp_path) -> pathlib.Path:
  """Folder names as people give them."""
  root = tmp_path / "my corpus"
  write_shards(root / "train", ["a", "b"], ["c"])
  write_shards(root / "test", ["d"])
  return root


def test_all_splits_that_are_there(corpus, tmp_path):
  out = tmp_path / "out of it"
  done = script(f"{corpus}/", str(out), "--audio", "pcm16")
  assert done.returncode == 0, done.stderr
  assert done.stdout.splitlines() == [
    f"{corpus}/train: reading 0.tfrecord, 1.tfrecord as tfrecord",
    "read 3 = written 3 + quarantined 0",
    f"{corpus}/test: reading 0.tfrecord as tfrecord",
    "read 1 = written 1 + quarantined 0",
  ]
  assert ids_of(out, "train") == [["a", "b"], ["c"]]
  assert ids_of(out, "test") == [["d"]]
  assert f"{corpus}/test -> {out}" in done.stderr
  again = script(str(corpus), str(out), "--audio", "pcm16", SPLITS="test")
  assert f"{out}: complete already, nothing to do" in again.stdout


def test_the_first_failure_ends_it(corpus, tmp_path):
  done = script(str(corpus), str(tmp_path / "out"), SPLITS="dev train")
  assert done.returncode == 2
  assert "no input found" in done.stderr
  assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
  ("arguments", "status", "said"),
  [
    (["--help"], 0, "usage: data/convert_data.sh SOURCE OUT"),
    ([], 2, "usage: data/convert_data.sh SOURCE OUT"),
    (["only one"], 2, "usage:"),
    (["/nowhere", "out"], 2, "no folder train, validation or test"),
    (["data", "out", "--audio", "mp3"], 2, "no folder train"),
  ],
)
def test_how_it_is_used(arguments, status, said):
  done = script(*arguments)
  assert done.returncode == status
  assert said in done.stdout + done.stderr


def test_tfrecord_script(corpus, tmp_path):
  command = (sys.executable, "data/convert_tfrecord_to_arrayrecord.py")
  done = run(*command, str(corpus / "train"), str(tmp_path / "out"), "--split", "dev")
  assert done.returncode == 0
  assert done.stdout.splitlines()[-1] == "read 3 = written 3 + quarantined 0"
  assert ids_of(tmp_path / "out", "dev") == [["a", "b"], ["c"]]
  failed = run(*command, str(corpus / "dev"), str(tmp_path / "out"))
  assert failed.returncode == 2
  assert failed.stderr.startswith("error: ") and len(failed.stderr.splitlines()) == 1
  assert "Usage: " in run(*command).stdout
