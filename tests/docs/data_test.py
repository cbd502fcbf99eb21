"""Every command of docs/data.md: run on small data, or, where it needs a cloud, parsed."""

import io
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tarfile

import numpy as np
import pyarrow as pa
import pytest
import recipe_files
import soundfile
import typer
import yaml

from maxtext_ext.cli import app
from maxtext_ext.input.datasets import NamedData
from maxtext_ext.keys.settings import kinds
from maxtext_ext.records.quarantine import QUARANTINE_NAME, read_lines
from maxtext_ext.records.schema import encode_example
from maxtext_ext.sources.tfrecord import write_tfrecord
from tests import tiny
from tests.sources.gigaspeech_test import clips, write_chunk
from tests.sources.librispeech_test import chapter
from tests.sources.manifests import write_tar

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "data.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
  return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


COMMANDS = [line for block in blocks("bash") for line in block.splitlines()]


def in_the_cloud(command: str) -> bool:
  return "gs://" in command


def write_recordings(folder: pathlib.Path) -> None:
  """JSON lines and sound; one of the lines is the page's own."""
  (folder / "clips").mkdir(parents=True)
  for seed, split in enumerate(("train", "validation")):
    lines = []
    for clip in tiny.records(6, seed=seed):
      name = f"clips/{clip.sample_id}.flac"
      soundfile.write(folder / name, np.stack([clip.audio] * 2, 1), 24_000)
      lines.append({"audio": name, "text": clip.text})
    if split == "train":
      shown = json.loads(re.search(r"`(\{\"audio\".*?\})`", PAGE)[1])
      soundfile.write(folder / shown["audio"], tiny.records(1)[0].audio, 16_000)
      lines.append(shown)
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")


def write_tars(folder: pathlib.Path) -> None:
  folder.mkdir(parents=True)
  with tarfile.open(folder / "0.tar", "w") as tar:
    for number, clip in enumerate(tiny.records(3, seed=9)):
      sound = io.BytesIO()
      soundfile.write(sound, clip.audio, 16_000, format="FLAC")
      for suffix, content in (("flac", sound.getvalue()), ("txt", clip.text.encode())):
        member = tarfile.TarInfo(f"{number:04d}.{suffix}")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))


def write_hub(folder: pathlib.Path) -> None:
  """Parquet files: of anybody, of the Hebrew recipe, of one of the Arabic sources."""
  named = pa.schema([pa.field("audio", recipe_files.AUDIO), pa.field("transcription", pa.string())])
  rows = [
    {
      "audio": {"bytes": recipe_files.sound(0.6, number), "path": f"{number}.wav"},
      "transcription": f"جملة رقم {number}",
    }
    for number in range(4)
  ]
  file = "data/train-00000-of-00001.parquet"
  recipe_files.write(folder / "train" / "0.parquet", rows, named)
  for split in ("train", "validation", "test"):
    recipe_files.write(folder / "fleurs" / "ar_eg" / split / "0000.parquet", rows, named)
  recipe_files.write(
    folder / "crowd-transcribe" / file, recipe_files.transcribe_rows(0, 30), recipe_files.TRANSCRIBE
  )
  recipe_files.write(
    folder / "crowd-recital" / file, recipe_files.recital_rows(range(9)), recipe_files.RECITAL
  )


def write_downloads(folder: pathlib.Path) -> None:
  """Archives of LibriSpeech and of GigaSpeech."""
  (folder / "librispeech").mkdir(parents=True)
  for subset in ("train-clean-100", "dev-clean", "test-clean"):
    write_tar(folder / "librispeech" / f"{subset}.tar.gz", *chapter(84, 1, 2))
  for part in ("xs", "dev", "test"):
    write_chunk(folder / "gigaspeech" / "data", part, 0, clips("POD1", 2))


@pytest.mark.integration_test
@pytest.mark.slow
def test_every_command_that_needs_no_cloud(tmp_path):
  write_recordings(tmp_path / "recordings")
  write_tars(tmp_path / "tars" / "train")
  write_hub(tmp_path / "hub")
  write_downloads(tmp_path / "downloads")
  for seed, split in enumerate(("train", "validation")):
    for shard in range(2):
      records = tiny.records(4, seed=10 * seed + shard)
      path = tmp_path / "tf" / split / f"{shard}.tfrecord"
      write_tfrecord(str(path), [encode_example(record) for record in records])
  (tmp_path / "data").symlink_to(ROOT / "data")
  binaries = str(pathlib.Path(sys.executable).parent)
  environment = {**os.environ, "PATH": os.pathsep.join([binaries, os.environ["PATH"]])}
  commands = [command for command in COMMANDS if not in_the_cloud(command)]
  assert len(commands) >= 14
  outputs = {}
  for command in commands:
    finished = subprocess.run(
      ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert finished.returncode == 0, f"{command}\n{finished.stdout}\n{finished.stderr}"
    outputs[command] = finished.stdout
    if "data convert" in command:
      assert re.search(r"read (\d+) = written \1 \+ quarantined 0", finished.stdout), command
  corpora = tmp_path / "corpora"
  shards = {
    folder.name: sorted(path.name for path in folder.glob("*.array_record"))
    for folder in corpora.iterdir()
  }
  assert shards["mine"] == [f"{s}-00000-of-00001.array_record" for s in ("train", "validation")]
  assert len(shards["tf"]) == len(shards["beam"]) == 2
  assert len(shards["whole"]) == 4
  # Both engines have written the same bytes.
  for name in shards["beam"]:
    assert (corpora / "beam" / name).read_bytes() == (corpora / "tf" / name).read_bytes()
  assert (tmp_path / "inspect.html").is_file() and (tmp_path / "sample.html").is_file()
  assert (corpora / "hebrew-sft" / "train.jsonl").is_file()
  # What the page says of an experiment is what the recipe prints.
  printed = next(text for command, text in outputs.items() if "prepare_hebrew" in command)
  for entry in yaml.safe_load(blocks("yaml")[0])["mixture"]:
    assert f"{{name: {entry['name']}, data_dir: {entry['data_dir']}}}" in printed


@pytest.mark.parametrize("command", [command for command in COMMANDS if in_the_cloud(command)])
def test_commands_for_the_cloud_are_parsed(command):
  arguments = shlex.split(command)
  assert arguments[:2] == ["maxtext-ext", "data"]
  data = typer.main.get_command(app).commands["data"]
  data.commands[arguments[2]].make_context(arguments[2], arguments[3:])


def test_keys_of_the_experiment_are_keys():
  shown = yaml.safe_load(blocks("yaml")[0])
  assert shown.keys() <= kinds().keys()
  for entry in shown["mixture"]:
    assert entry.keys() <= NamedData.model_fields.keys()


def test_the_line_of_the_quarantine_is_one(tmp_path):
  (line,) = blocks("json")
  path = tmp_path / QUARANTINE_NAME
  path.write_text(line)
  (entry,) = read_lines(str(path))
  assert entry["position"] == 7
