"""Every command of the README, run as it stands there, on small data and a tiny checkpoint."""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from benchmarks.parity.references import qwen3_asr_files
from maxtext_ext.text.tokenizer import train_char_tokenizer
from tests import tiny

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
# What make, the shell and a real checkpoint are for; the demo's test runs the rest of `make demo`,
# docs/pod_test.py what a pod is for.
NOT_HERE = ("make ", "source ", "export TPU_NAME", "tools/", "python3 tools/", "SPLITS=")
# What makes it small. Keys of the environment win over those of a file.
SMALL = {
  "M_STEPS": "3",
  "M_EVAL_INTERVAL": "3",
  "M_CHECKPOINT_PERIOD": "3",
  "M_MAX_TARGET_LENGTH": "256",
  "M_MAX_SECONDS": "8",
  "M_MAX_NEW_TOKENS": "6",
  "M_DECODE_ROWS": "3",
  "M_GRADIENT_ACCUMULATION_STEPS": "1",
  "M_DTYPE": "float32",
}


def blocks(language: str) -> list[str]:
  return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
  lines = [line.split("#")[0].strip() for block in blocks("bash") for line in block.splitlines()]
  return [line for line in lines if line and not line.startswith(NOT_HERE)]


def write_recordings(folder: pathlib.Path) -> None:
  """JSONL files and sound as the README describes them, with the line that it shows."""
  (folder / "clips").mkdir(parents=True)
  shown = json.loads(blocks("json")[0])
  for number, (split, count) in enumerate({"train": 12, "validation": 3, "test": 3}.items()):
    lines = []
    for i, clip in enumerate(tiny.records(count, seed=number)):
      line = {"audio": f"clips/{clip.sample_id}.wav", "text": clip.text, "language": "Hebrew"}
      if split == "train" and i == 0:
        line = shown
      soundfile.write(folder / line["audio"], np.stack([clip.audio] * 2, 1), 16_000)
      lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")


@pytest.mark.integration_test
@pytest.mark.slow
def test_every_command(tmp_path):
  write_recordings(tmp_path / "recordings")
  # A folder of this name stands for the hub's.
  checkpoint = tmp_path / "Qwen" / "Qwen3-ASR-0.6B"
  qwen3_asr_files.write(checkpoint, "original")
  for name in ("vocab.json", "merges.txt"):
    (checkpoint / name).unlink()
  train_char_tokenizer([*tiny.WORDS, "שלום לכולם"], checkpoint, ["Hebrew"])
  path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
  environment = {**os.environ, **SMALL, "PATH": path}
  run = commands()
  assert len(run) >= 8
  for command in run:
    finished = subprocess.run(
      ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert finished.returncode == 0, f"{command}\n{finished.stdout}\n{finished.stderr}"
  assert (tmp_path / "out" / "report.html").is_file()
  assert (tmp_path / "out" / "qwen3-asr-mine" / "config.json").is_file()
  (python,) = blocks("python")
  finished = subprocess.run(
    [sys.executable, "-c", python], cwd=tmp_path, env=environment, capture_output=True, text=True
  )
  assert finished.returncode == 0, finished.stderr
  assert re.search(r"Hebrew \d+\.\d+", finished.stdout)


def test_make_targets_of_the_readme_exist():
  makefile = (ROOT / "Makefile").read_text("utf-8")
  used = {name for block in blocks("bash") for name in re.findall(r"^make (\w+)", block, re.M)}
  assert used == {"demo", "test"}
  assert all(re.search(rf"^{name}:", makefile, re.M) for name in used)
