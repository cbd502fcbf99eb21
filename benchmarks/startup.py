"""Start-up of a command: a mistyped key, the first line of `train`, and its first step.

    python -m benchmarks.startup

Each figure is of a new process on a terminal, from its start: until it ends, for the mistyped
key; until it shows something; until metrics.jsonl has the first step, which includes compiling
without a cache of programs. The peer is MaxText's own trainer, given the same mistyped key, and
its first line of output. Medians of several starts, on a machine that does nothing else; CPU
seconds are of all threads.

The model is the demo's, the data 32 clips like speech. A JSON line at the end.
"""

import argparse
import json
import os
import pty
import re
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.speech_like import make_clips
from maxtext_ext.keys.maxtext import configs_folder
from maxtext_ext.records.schema import Record, encode_example
from maxtext_ext.records.writer import ShardWriter
from maxtext_ext.text.tokenizer import train_char_tokenizer

ROOT = Path(__file__).parents[1]
TRAIN = (sys.executable, "-m", "maxtext_ext.cli", "train", "configs/experiments/demo.yml")
PEER = (sys.executable, "-m", "maxtext.trainers.pre_train.train")
KEYS = (
  *("steps=1", "curriculum=[]", "eval_interval=-1", "enable_checkpointing=false"),
  "enable_tensorboard=false",
)
MISTYPED = "lerning_rate=1"
LIMIT = 600.0  # seconds of one start
# Control sequences of a terminal, which show nothing by themselves.
CONTROL = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]")


@dataclass(frozen=True, kw_only=True)
class Start:
  """One start of a command.

  Attributes:
    first_line: seconds until it showed a letter.
    reached: seconds until what was waited for, at most the end of the process.
    cpu: CPU seconds of the process until it ended.
  """

  first_line: float
  reached: float
  cpu: float


def main() -> None:
  """Measures both sides and prints the table."""
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--starts", type=int, default=3, help="of each command; default: 3")
  starts = parser.parse_args().starts
  with tempfile.TemporaryDirectory() as folder:
    keys = [*write_data(Path(folder)), *KEYS]

    def train(number: int) -> Start:
      metrics = Path(folder, "runs", f"run{number}", "metrics.jsonl")
      own = [f"run_name=run{number}", f"jax_cache_dir={folder}/programs{number}"]
      return start([*TRAIN, *keys, *own], lambda: has_line(metrics))

    trained = [train(number) for number in range(starts)]
  mistyped = [start([*TRAIN, MISTYPED]) for _ in range(starts)]
  peer = [start([*PEER, peer_config(), MISTYPED]) for _ in range(starts)]
  table = Table("seconds", "ours", "MaxText")
  rows = {
    "mistyped key": (median(mistyped, "reached"), median(peer, "reached")),
    "mistyped key, CPU": (median(mistyped, "cpu"), median(peer, "cpu")),
    "first line": (median(trained, "first_line"), median(peer, "first_line")),
    "first step": (median(trained, "reached"), None),
  }
  for name, (ours, theirs) in rows.items():
    table.add_row(name, f"{ours:.2f}", "" if theirs is None else f"{theirs:.2f}")
  Console().print(table)
  ours, theirs = rows["mistyped key"]
  summary = {
    "name": "startup",
    "ours": round(ours, 2),
    "peer": round(theirs, 2),
    "ratio": round(theirs / ours, 2),
    "unit": "s until a mistyped key is reported",
    "cpu_s": round(rows["mistyped key, CPU"][0], 2),
    "first_line_s": round(rows["first line"][0], 2),
    "first_step_s": round(rows["first step"][0], 2),
  }
  print(json.dumps(summary))


def write_data(folder: Path) -> list[str]:
  """Data and tokenizer of a small run; returns the keys that point there."""
  clips = [clip for clip in make_clips(100) if clip.seconds < 4.0][:32]
  data = folder / "data"
  data.mkdir()
  with ShardWriter(str(data / "train-00000-of-00001.array_record")) as writer:
    for number, clip in enumerate(clips):
      record = Record(
        sample_id=f"clip{number}", audio=clip.samples, text=clip.text, dataset_name="speech-like"
      )
      writer.write(encode_example(record, "pcm16"))
  train_char_tokenizer((clip.text for clip in clips), folder / "tokenizer", ["English"])
  return [
    f"data_dir={data}",
    f"tokenizer_path={folder / 'tokenizer'}",
    f"base_output_directory={folder / 'runs'}",
    "language_in_prompt=false",
  ]


def peer_config() -> str:
  """MaxText's own configuration file."""
  return os.path.join(configs_folder(), "base.yml")


def start(command: Sequence[str], reached: Callable[[], bool] = lambda: False) -> Start:
  """Runs a command on a terminal to its end."""
  master, slave = pty.openpty()
  environment = {**os.environ, "JAX_PLATFORMS": "cpu", "DECOUPLE_GCLOUD": "TRUE"}
  began = time.monotonic()
  process = subprocess.Popen(
    command, stdin=slave, stdout=slave, stderr=slave, cwd=ROOT, env=environment
  )
  os.close(slave)
  first_line = there = None
  while (elapsed := time.monotonic() - began) < LIMIT:
    if there is None and reached():
      there = elapsed
    if select.select([master], [], [], 0.01)[0]:
      try:
        shown = os.read(master, 2**16)
      except OSError:  # the other end is closed: Linux says EIO
        break
      if first_line is None and re.search(rb"[a-z]", CONTROL.sub(b"", shown)):
        first_line = time.monotonic() - began
  _, _, usage = os.wait4(process.pid, 0)
  process.returncode = 0  # it has been waited for
  os.close(master)
  end = time.monotonic() - began
  assert first_line is not None, f"{command} showed nothing"
  return Start(
    first_line=first_line,
    reached=end if there is None else there,
    cpu=usage.ru_utime + usage.ru_stime,
  )


def has_line(path: Path) -> bool:
  """Returns whether a file has a complete line."""
  return path.exists() and b"\n" in path.read_bytes()


def median(starts: Sequence[Start], name: str) -> float:
  """The median of one figure."""
  return statistics.median(getattr(one, name) for one in starts)


if __name__ == "__main__":
  main()
