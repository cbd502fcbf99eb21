"""Every command of docs/pod.md, from the first to the last, against stand-ins."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from standins import running
from standins.cloud import Cloud
from standins.gpu_host import GpuHost

from maxtext_ext.cli import app
from tests.tools.shell_scripts import SETTINGS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "pod.md").read_text("utf-8")
ALL_BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
OF_GPU_HOSTS = [block for block in ALL_BLOCKS if "tools/remote.py" in block]
BLOCKS = [block for block in ALL_BLOCKS if block not in OF_GPU_HOSTS]

QUICK = "--POLL_SECS=0.2 --LOG_SECS=0.5 --DELETE_AFTER_SECS=1"  # of a job, which is slow to look
# A Python 3.12 to which setup/install.sh installs the project, and the `maxtext-ext` of that
# installation: each notes how it was called, beside the folder of the stand-in.
PYTHON = f"""#!{sys.executable}
import json, os, pathlib, shutil, sys
words = sys.argv[1:]
if words[:2] == ["-m", "venv"]:
  bin = pathlib.Path(words[-1]) / "bin"
  bin.mkdir(parents=True, exist_ok=True)
  for name in ("python", "maxtext-ext"):
    shutil.copy(os.path.abspath(__file__), bin / name)
elif words[:1] == ["-c"]:
  print("3.12")
elif words[:2] in (["-m", "pip"], ["-m", "ensurepip"], ["-W", "ignore"]):
  pass
elif words[:1] == ["launch"]:
  os.execv(sys.executable, [sys.executable, "-m", "maxtext_ext.cli", *words])
else:
  said = words[2:] if words[:2] == ["-m", "maxtext_ext.cli"] else words
  note = {{"home": os.environ["HOME"], "words": said}}
  with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps(note) + "\\n")
"""


class Jumpbox:
  """The machine on which the page's commands are run."""

  def __init__(self, folder: Path) -> None:
    self.cloud = Cloud(folder / "cloud")
    (self.cloud.folder / "tmp").mkdir()
    self.bucket = self.cloud.folder / "buckets" / "my-bucket"
    self.bucket.mkdir(parents=True)
    with self.cloud.state() as state:
      state["settings"] = {"project": "my-project", "compute/zone": "us-central2-b"}
    self.exports: list[str] = []
    self._calls = folder / "calls"
    self._folder = folder
    self._bin = folder / "bin"
    self._bin.mkdir()
    for name in ("python3.12", "maxtext-ext"):
      self._add(name, PYTHON)
    self._add("sudo", '#!/bin/sh\n[ "$1 $2 $3" = "apt-get install -y" ]\n')
    origin = folder / "origin"
    subprocess.run(["git", "init", "-q", origin], check=True)

  def _add(self, name: str, text: str) -> None:
    (self._bin / name).write_text(text)
    (self._bin / name).chmod(0o755)

  def run(self, block: str) -> str:
    """Runs a block of commands; returns what they print."""
    block = block.replace("multihost_job.py --", f"multihost_job.py {QUICK} --")
    mine = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    there = running.environment(self.cloud)
    done = subprocess.run(
      ["bash", "-euo", "pipefail", "-c", "\n".join([*self.exports, block])],
      env={
        **mine,
        **there,
        "PATH": f"{self._bin}:{there['PATH']}",
        "HOME": str(self._folder),
        "PYTHON": str(self._bin / "python3.12"),  # a shim of pyenv would put its own first
        "CALLS": str(self._calls),
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{self._folder}/origin.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/my-account/maxtext_ext.git",
      },
      cwd=self._folder if "git clone" in block else ROOT,
      capture_output=True,
      text=True,
      timeout=200,
      check=False,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    self.exports += [line for line in block.splitlines() if line.startswith("export ")]
    return done.stdout + done.stderr

  def calls(self, where: str) -> list[list[str]]:
    """The `maxtext-ext` commands that a machine was given."""
    notes = [json.loads(line) for line in self._calls.read_text().splitlines()]
    home = str(self._folder if where == "jumpbox" else self.cloud.folder / where)
    return [note["words"] for note in notes if note["home"] == home]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[GpuHost]:
  gpu_host = GpuHost(tmp_path)
  try:
    gpu_host.sshd.start()
    yield gpu_host
  finally:
    gpu_host.sshd.close()


@pytest.fixture
def jumpbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jumpbox]:
  monkeypatch.delenv("VIRTUAL_ENV", raising=False)
  made = Jumpbox(tmp_path)
  yield made
  with made.cloud.state() as state:
    workers = [
      (name, each) for name, node in state["nodes"].items() for each in range(node["workers"])
    ]
  for name, worker in workers:
    made.cloud.end_machine(name, worker)


def parsed(words: list[str]) -> None:
  """Reads the words of a `maxtext-ext` command as the program does."""
  command = typer.main.get_command(app)
  for number, word in enumerate(words):
    if not hasattr(command, "commands"):
      command.make_context(word, words[number:])
      return
    command = command.commands[word]
  command.make_context(words[-1], [])


@pytest.mark.integration_test
def test_the_commands_for_a_gpu_host(host: GpuHost):
  """On a real sshd, in the order of the page; the training is one of a stand-in."""
  host.write("configs/experiments/qwen3_asr_cuda.yml", "steps: 1\n")
  host.git("add", "--all")
  lines = [shlex.split(line) for block in OF_GPU_HOSTS for line in block.splitlines()]
  verbs = [words[2] for words in lines]
  assert verbs == ["deploy", "start", "status", "attach", "stop"]
  for words in lines:
    assert words[:2] == ["python3", "tools/remote.py"]
    done = host.run(words[2], *words[5:])
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
  assert "<train><configs/experiments/qwen3_asr_cuda.yml><run_name=first>" in host.log(
    "qwen3_asr_cuda"
  )


@pytest.mark.integration_test
@pytest.mark.slow
def test_the_page_from_its_first_command_to_its_last(jumpbox: Jumpbox):
  decoded = jumpbox.bucket / "checkpoints/arabic1/decoded"
  decoded.mkdir(parents=True)
  for name in ("test.json", "test.html"):  # of `evaluate`, which is a stand-in here
    (decoded / name).write_text("{}")
  printed = "\n".join(jumpbox.run(block) for block in BLOCKS)
  assert "train-arabic1: the command succeeded on all 4 workers" in printed
  for worker in range(4):
    calls = jumpbox.calls(f"qr-v4-32/{worker}")
    verbs = [words[0] for words in calls]
    assert verbs[0] == "doctor"
    assert verbs.count("train") == 1
    assert verbs.count("decode") == 3
    assert ("evaluate" in verbs, "convert" in verbs, "data" in verbs) == (worker == 0,) * 3
    for words in calls:
      parsed(words)
  (train,) = (words for words in jumpbox.calls("qr-v4-32/3") if words[0] == "train")
  assert train[1] == "configs/experiments/arabic_omni_v4_32.yml"
  assert {
    "epochs=1",
    "run_name=arabic1",
    "base_output_directory=gs://my-bucket/checkpoints",
    "load_parameters_path=gs://my-bucket/checkpoints/qwen3-omni-30b-a3b",
    "data_dir=gs://my-bucket/grain_data_arrayrecord",
  } <= set(train)
  assert [words[0] for words in jumpbox.calls("job1/0")] == ["train"]
  for words in jumpbox.calls("jumpbox"):
    parsed(words)
  with jumpbox.cloud.state() as state:  # nothing is left that costs
    assert not state["queued"]
    assert not state["nodes"]
  assert "hf_of_your_account" not in json.dumps(jumpbox.cloud.calls())


def test_what_the_readme_says_of_a_pod_is_of_this_page():
  blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
  (short,) = (block for block in blocks if "TPU_NAME" in block)
  assert set(short.splitlines()) <= {line for block in BLOCKS for line in block.splitlines()}


def test_scripts_and_configurations_of_the_page_are_there():
  for words in (shlex.split(line) for block in BLOCKS for line in block.splitlines()):
    for word in words:
      if re.fullmatch(r"(tools|data|configs|setup)/[\w./]+", word):
        assert (ROOT / word).is_file(), word
