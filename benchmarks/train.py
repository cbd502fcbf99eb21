"""Training throughput in audio seconds per second, compared with Qwen3-ASR's PyTorch recipe.

    python -m benchmarks.train --peer-python PYTHON

PYTHON is one of an environment with torch and transformers (peer_torch_train.py says which). Both
sides learn the same clips (speech_like.py) with the same model from random weights: every weight,
AdamW, the same threads, float32 on a CPU and bfloat16 on a GPU. Reading the clips and their log-mel
are included on both sides. The peer takes padded batches of clips in the order of their numbers;
the clips are those of a seed whose batches are filled as such batches are on average.

Ours is `maxtext-ext train`, and its figures those of the run's metrics.jsonl. The sides take turns,
and each takes a step before that is not counted; ours compiles there, which is told apart. On a
CPU, rows are just long enough for a clip of 30 s, as attention compares all positions of a row.
Both sides ask glibc for huge pages: XLA gets the memory of a step anew each time, and the system's
part of that was a sixth of our time; the peer keeps its memory, and gains nothing by it.

One GPU, not run yet: `--device cuda --shape 0.6b` or `1.7b` gives model FLOPs a second too, as a
share of the dense bfloat16 peak of an H100 or H200; `key=value` changes what ours is run with.

A JSON line at the end; `ours` and `peer` are over all their turns.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.table import Table

from benchmarks.speech_like import make_clips
from benchmarks.train_data import SHAPES, write_clips, write_shape, write_tokenizer
from maxtext_ext.config import load
from maxtext_ext.keys.yml import package_configs
from maxtext_ext.models.encoders import encoder_config
from maxtext_ext.planning.model_flops import decoder_flops_per_token, encoder_flops_per_window
from maxtext_ext.planning.topology import H100

HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
ROOT = Path(__file__).parents[1]
SEED = 9  # batches of 16: 39.8% of the token slots, on average 39.5%
TURNS = 2
PEER = "peer_torch_train.py"


@dataclass(frozen=True, kw_only=True)
class Setting:
  """Benchmark settings of a device.

  Attributes:
    batch: clips of a step of the peer.
    peer_steps, steps: counted steps of a turn of the peer and of ours.
    keys: of our run.
  """

  batch: int
  peer_steps: int
  steps: int
  keys: tuple[str, ...]


SETTINGS = {
  "cpu": Setting(
    batch=16,  # as many as 24 GiB hold
    peer_steps=1,
    steps=2,
    keys=(
      *("dtype=float32", "hardware=cpu", "per_device_batch_size=4", "max_target_length=576"),
      *("remat_policy=none", "scan_layers=false"),
    ),
  ),
  "cuda": Setting(
    batch=32,  # as the recipe
    peer_steps=10,
    steps=10,
    keys=(
      *("dtype=bfloat16", "hardware=gpu", "per_device_batch_size=8", "max_target_length=2048"),
      "remat_policy=minimal",
    ),
  ),
}


@dataclass(frozen=True, kw_only=True)
class Turn:
  """Measurements of one side in one turn, over its counted steps.

  Attributes:
    seconds: of the clock.
    cpu_seconds: of all its threads.
    waited: seconds that a step was without its batch.
    audio: seconds of sound.
    fill: share of the token slots that are real.
    loss: of the last step, nats a token.
    before: seconds until the counted steps, those of the first step included.
    flops: the model's, in a second.
  """

  seconds: float
  cpu_seconds: float
  waited: float
  audio: float
  fill: float
  loss: float
  before: float = 0.0
  flops: float = 0.0


class PeerProcess:
  """The peer, started for its first turn; on a GPU anew for each, for its memory."""

  def __init__(self, folder: Path, options: argparse.Namespace, answers: Sequence[int]) -> None:
    self._folder = folder
    self._options = options
    self._answers = answers
    self._process: subprocess.Popen | None = None
    self._clips = 0  # taken since the process began
    self.versions = ""
    self.parameters = 0

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *exc: object) -> None:
    self._end()

  def turn(self, steps: int) -> Turn:
    """Takes the steps, after one that is not counted when the process is new."""
    began = time.perf_counter()
    if self._process is None:
      self._start()
      self._step()
    before = time.perf_counter() - began
    taken = [self._step() for _ in range(steps)]
    if self._options.device == "cuda":
      self._end()
    return Turn(
      seconds=sum(step["seconds"] for step in taken),
      cpu_seconds=sum(step["cpu_seconds"] for step in taken),
      waited=sum(step["input_wait_seconds"] for step in taken),
      audio=sum(step["audio_seconds"] for step in taken),
      fill=statistics.mean(step["token_fill"] for step in taken),
      loss=taken[-1]["loss"],
      before=before,
    )

  def _start(self) -> None:
    options = self._options
    self._process = subprocess.Popen(
      [
        *(options.peer_python, str(Path(__file__).parent / PEER), str(self._folder)),
        *("--batch", str(options.batch), "--threads", str(options.threads)),
        *("--device", options.device),
      ],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | HUGE_PAGES,
      text=True,
    )
    self._clips = 0
    said = self._read()
    self.versions, self.parameters = said["versions"], said["parameters"]

  def _step(self) -> dict[str, float]:
    """One step, whose answers must be those that ours learns of the same clips."""
    self._process.stdin.write("1\n")
    self._process.stdin.flush()
    step = self._read()
    expected = sum(self._answers[self._clips : self._clips + self._options.batch])
    self._clips = (self._clips + self._options.batch) % len(self._answers)
    if step["answer_tokens"] != expected:
      raise ValueError(f"the peer learns {step['answer_tokens']} tokens, ours {expected}")
    return step

  def _read(self) -> dict[str, Any]:
    line = self._process.stdout.readline()
    if not line:
      raise ValueError(f"{PEER} ended with status {self._process.wait()}; it says why above")
    return json.loads(line)

  def _end(self) -> None:
    if self._process is not None:
      self._process.communicate()
      self._process = None


def our_turn(folder: Path, name: str, keys: Sequence[str], steps: int) -> Turn:
  """A run of the training loop; its first step is not counted."""
  metrics = folder / "runs" / name / "metrics.jsonl"
  command = [sys.executable, "-m", "maxtext_ext.cli", "train", str(folder / "run.yml")]
  began = time.perf_counter()
  with open(folder / "log.txt", "w+", encoding="utf-8") as log:
    process = subprocess.Popen(
      [*command, f"run_name={name}", f"steps={steps + 1}", *keys],
      cwd=ROOT,
      env={**os.environ, **HUGE_PAGES, "PYTHONPATH": str(ROOT)},
      stdout=log,
      stderr=subprocess.STDOUT,
    )
    samples = []  # time, CPU seconds until then, size of the metrics
    while process.poll() is None:
      size = metrics.stat().st_size if metrics.exists() else 0
      samples.append((time.perf_counter(), _cpu_seconds(process.pid), size))
      time.sleep(0.02)
    log.seek(0)
    if process.returncode:
      raise ValueError(f"training ended with status {process.returncode}: {log.read()[-2000:]}")
  lines = [json.loads(line) for line in metrics.read_text("utf-8").splitlines()][1:]
  seconds = [line["step_seconds"] for line in lines]
  audio = [line["step_seconds"] * line["audio_seconds_per_second"] for line in lines]
  targets = sum(line["target_tokens"] for line in lines)
  fill = statistics.mean(line["token_fill"] for line in lines)
  # Lines are written a little later than their steps end, but for the last.
  end, cpu_at_end, _ = next(sample for sample in samples if sample[2] == samples[-1][2])
  start = end - sum(seconds)
  cpu_at_start = next(cpu for at, cpu, _ in samples if at >= start)
  return Turn(
    seconds=sum(seconds),
    cpu_seconds=cpu_at_end - cpu_at_start,
    waited=sum(line["wait_seconds"] for line in lines),
    audio=sum(audio),
    fill=fill,
    loss=lines[-1]["loss"],
    before=start - began,
    flops=_model_flops(folder, keys, sum(audio), fill * len(lines), targets) / sum(seconds),
  )


def _cpu_seconds(pid: int) -> float:
  fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rsplit(")", 1)[1].split()
  return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _model_flops(
  folder: Path, keys: Sequence[str], audio: float, batches: float, targets: float
) -> float:
  """Counts FLOPs from full batches, seconds of sound and target tokens: three passes."""
  config = load(str(folder / "run.yml"), keys)
  tokens = batches * config.per_device_batch_size * config.max_target_length
  return 3 * (
    audio / encoder_config(config).geometry.window_seconds * encoder_flops_per_window(config)
    + tokens * decoder_flops_per_token(config)
    + targets * 2 * config.emb_dim * config.vocab_size
  )


def main() -> None:
  """Measures, and prints the table and the JSON line."""
  options = parse_options()
  setting = SETTINGS[options.device]
  options.batch = options.batch or setting.batch
  options.threads = len(os.sched_getaffinity(0))
  with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    shape = write_shape(options.shape, folder)
    clips = make_clips(options.batch * (TURNS * setting.peer_steps + 1), options.seed)
    tokenizer = write_tokenizer(folder, [clip.text for clip in clips], shape["vocab_size"])
    answers = write_clips(folder, clips, tokenizer)
    base = package_configs() / "speech.yml"
    (folder / "run.yml").write_text(f"base_config: {base}\nmodel_name: {folder}\n", "utf-8")
    overrides = [
      *(f"data_dir={folder}", f"base_output_directory={folder / 'runs'}"),
      *(f"jax_cache_dir={folder / 'compiled'}", "enable_checkpointing=false"),
      *setting.keys,
      *options.keys,
    ]
    by_name = dict(item.split("=", 1) for item in overrides)  # the later ones win
    keys = [f"{key}={value}" for key, value in by_name.items()]
    theirs, ours = [], []
    with PeerProcess(folder, options, answers) as peer:
      for turn in range(TURNS):
        theirs.append(peer.turn(setting.peer_steps))
        ours.append(our_turn(folder, f"turn{turn}", keys, setting.steps))
      report(options, peer, theirs, ours)


def parse_options() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--peer-python", default=os.environ.get("PEER_PYTHON"))
  parser.add_argument("--shape", choices=SHAPES, default="60m")
  parser.add_argument("--device", choices=SETTINGS, default="cpu")
  parser.add_argument("--batch", type=int, help="clips of a step of the peer")
  parser.add_argument("--seed", type=int, default=SEED, help="of the clips")
  parser.add_argument("keys", nargs="*", help="key=value for our run")
  options = parser.parse_args()
  if not options.peer_python:
    parser.error(
      "no Python for the peer: make one with torch and transformers as"
      f" benchmarks/{PEER} says, and give it as --peer-python or PEER_PYTHON"
    )
  return options


def report(
  options: argparse.Namespace, peer: PeerProcess, theirs: list[Turn], ours: list[Turn]
) -> None:
  """The table, and the JSON line."""
  table = Table(title=f"{options.shape}, {peer.parameters / 1e6:.1f}M parameters, {peer.versions}")
  table.add_column("turn")
  for column in ("audio s/s", "of a core", "tokens real", "waiting", "before", "loss"):
    table.add_column(column, justify="right")
  for name, turns in (("peer", theirs), ("ours", ours)):
    for turn in turns:
      table.add_row(
        *(name, f"{turn.audio / turn.seconds:.2f}", f"{turn.audio / turn.cpu_seconds:.2f}"),
        *(f"{turn.fill:.1%}", f"{turn.waited / turn.seconds:.2%}"),
        *(f"{turn.before:.0f} s", f"{turn.loss:.2f}"),
      )
  Console(width=100).print(table)

  def rate(turns: list[Turn]) -> float:
    return sum(turn.audio for turn in turns) / sum(turn.seconds for turn in turns)

  def of_core(turns: list[Turn]) -> float:
    return sum(turn.audio for turn in turns) / sum(turn.cpu_seconds for turn in turns)

  flops = statistics.mean(turn.flops for turn in ours)
  line = {
    "name": f"train_{options.shape}_{options.device}",
    "ours": round(rate(ours), 2),
    "peer": round(rate(theirs), 2),
    "ratio": round(rate(ours) / rate(theirs), 2),
    "unit": "audio seconds a second",
    "ratio_of_cpu_seconds": round(of_core(ours) / of_core(theirs), 2),
    "peer_without_input": round(
      sum(t.audio for t in theirs) / sum(t.seconds - t.waited for t in theirs), 2
    ),
    "waiting": round(sum(t.waited for t in ours) / sum(t.seconds for t in ours), 5),
    "compile_and_start_seconds": round(ours[0].before, 1),
    "model_tflops_a_second": round(flops / 1e12, 3),
  }
  if options.device == "cuda":
    line["mfu"] = round(flops / H100.flops, 3)
  print(json.dumps(line))


if __name__ == "__main__":
  main()
