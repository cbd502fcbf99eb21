"""Training input on one core: audio seconds per second, compared with the official recipe.

    python benchmarks/input.py

A synthetic corpus (speech_like.py) is written to a temporary folder, with float samples and with 16
bits, and read while the system still holds it in memory: shuffled, tokenized with Qwen3's
tokenizer, packed into rows of 2048 tokens. Nothing is computed on a device.

The peer does what Qwen3-ASR's fine-tuning script does for a batch of 32: soundfile, transformers'
WhisperFeatureExtractor and fast tokenizer, everything padded to the longest. The script runs the
processor twice a batch, the second time without the answers, to know their lengths; `peer` is one
such run, `peer_as_published` both. Without PyTorch the spectrograms are numpy's, which is no
slower on one core.

Seconds are those of the core, so that what else runs on the machine does not count; nothing waits
for anything else. Each figure is the best of three spells. A JSON line each, the last one of float
records.
"""

import argparse
import importlib.util
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table
from transformers import PreTrainedTokenizerFast, WhisperFeatureExtractor

from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.input.pipeline import Datasets, InputConfig, Packing, fill, train_iterator
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY
from maxtext_ext.records.schema import Record, encode_example
from maxtext_ext.records.writer import ShardWriter
from maxtext_ext.text.special_tokens import ASR_TEXT, AUDIO_END, AUDIO_PAD, AUDIO_START, PAD
from maxtext_ext.text.tokenizer import Tokenizer

sys.path.insert(0, str(Path(__file__).parent))
from speech_like import Clip, make_clips

MAX_TOKENS = 2048
SHARDS = 8
SPELLS = 3
PEER_BATCH = 32
PEER_CLIPS = 96  # three batches, again and again
# Samples in the records, samples in the batches.
KINDS = (("pcm16", "int16"), ("float32", "int16"), ("float32", "float32"))


def main() -> None:
  """Measures, and prints the table and the JSON lines."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--clips", type=int, default=1_500, help="of 7.6 s on average")
  parser.add_argument("--rows", type=int, default=8, help="of a batch")
  parser.add_argument("--seconds", type=float, default=1.0, help="of a spell")
  options = parser.parse_args()
  pin_to_one_core()
  clips = make_clips(options.clips)
  with tempfile.TemporaryDirectory() as folder:
    peer = OfficialWay(clips[:PEER_CLIPS], Path(folder))
    once = measure(lambda: peer.batch(runs=1), options.seconds)
    twice = measure(lambda: peer.batch(runs=2), options.seconds)
    rates = {}
    for stored, dtype in KINDS:
      data_dir = Path(folder) / stored
      if not data_dir.exists():
        write_records(data_dir, clips, stored)
      config = InputConfig(
        geometry=GEOMETRY,
        datasets=Datasets(data_dir=str(data_dir)),
        rows=options.rows,
        max_tokens=MAX_TOKENS,
        packing=Packing(audio_dtype=dtype),
      )
      rates[stored, dtype] = measure_ours(config, options.seconds)
  report(rates, once, twice)


def report(rates: dict[tuple[str, str], float], once: float, twice: float) -> None:
  """The table, and a JSON line for each of our rates."""
  table = Table(min_width=80, title="audio seconds a second, one core")
  for column in ("records", "batches", "ours", "official way", "as published", "ratio"):
    table.add_column(column, justify="left" if column in ("records", "batches") else "right")
  lines = []
  for (stored, dtype), ours in rates.items():
    figures = (f"{ours:,.0f}", f"{once:,.0f}", f"{twice:,.0f}", f"{ours / once:.1f}")
    table.add_row(stored, dtype, *figures)
    lines.append(
      {
        "name": f"input_{stored}_to_{dtype}",
        "ours": round(ours),
        "peer": round(once),
        "ratio": round(ours / once, 2),
        "unit": "audio seconds a second",
        "peer_as_published": round(twice),
      }
    )
  Console(width=100).print(table)
  for line in lines:
    print(json.dumps(line))


def pin_to_one_core() -> None:
  """Keeps all threads of this process, and those to come, on one core."""
  core = min(os.sched_getaffinity(0))
  for thread in os.listdir("/proc/self/task"):
    os.sched_setaffinity(int(thread), {core})


def measure(batch: Callable[[], float], seconds: float) -> float:
  """Measures audio seconds per second of `batch`, which returns its seconds; the best run."""
  rates = []
  for _ in range(SPELLS):
    audio, start = 0.0, time.process_time()
    while (elapsed := time.process_time() - start) < seconds:
      audio += batch()
    rates.append(audio / elapsed)
  return max(rates)


def measure_ours(config: InputConfig, seconds: float) -> float:
  """Measures the training iterator, after its look-ahead is filled and its stock used up."""
  batches = train_iterator(config, Tokenizer.from_directory(qwen3_directory()), steps=1)
  for _ in range(config.prefetch_batches + 1):
    next(batches)
  try:
    return measure(lambda: fill(next(batches)).audio_seconds, seconds)
  finally:
    batches.close()


def qwen3_directory() -> Path:
  """Finds Qwen3's tokenizer in MaxText without importing MaxText."""
  (package,) = importlib.util.find_spec("maxtext").submodule_search_locations
  return Path(package) / "assets/tokenizers/qwen3-tokenizer"


def write_records(folder: Path, clips: Sequence[Clip], stored: str) -> None:
  """Writes the clips as shards of the split `train`."""
  folder.mkdir()
  for shard in range(SHARDS):
    with ShardWriter(str(folder / f"train-{shard:05d}-of-{SHARDS:05d}.array_record")) as writer:
      for number, clip in itertools.islice(enumerate(clips), shard, None, SHARDS):
        record = Record(
          sample_id=f"clip{number}",
          audio=clip.samples,
          text=clip.text,
          dataset_name="synthetic",
          language="English",
        )
        writer.write(encode_example(record, stored))


class OfficialWay:
  """Batches as Qwen3-ASR's fine-tuning script collates them, from WAV files.

  Source: finetuning/qwen3_asr_sft.py and the processor of QwenLM/Qwen3-ASR.
  """

  def __init__(self, clips: Sequence[Clip], folder: Path) -> None:
    self._extractor = WhisperFeatureExtractor(feature_size=128)
    file = str(qwen3_directory() / "tokenizer.json")
    self._tokenizer = PreTrainedTokenizerFast(
      tokenizer_file=file, padding_side="left", pad_token=PAD
    )
    special = [AUDIO_START, AUDIO_PAD, AUDIO_END, ASR_TEXT]
    self._tokenizer.add_special_tokens({"additional_special_tokens": special})
    files = []
    for number, clip in enumerate(clips):
      files.append((str(folder / f"{number}.wav"), clip.text))
      soundfile.write(files[-1][0], clip.samples, SAMPLE_RATE)
    self._batches = itertools.cycle(itertools.batched(files, PEER_BATCH))

  def batch(self, runs: int) -> float:
    """Makes one, running the processor once or twice; returns its seconds of audio."""
    files = next(self._batches)
    audio = [soundfile.read(path, dtype="float32")[0] for path, _ in files]
    prefixes = (
      f"<|im_start|>system\n<|im_end|>\n<|im_start|>user\n{AUDIO_START}{AUDIO_PAD}{AUDIO_END}"
      "<|im_end|>\n<|im_start|>assistant\n",
    ) * len(files)
    answers = [f"language English{ASR_TEXT}{text}<|im_end|>" for _, text in files]
    full = self._process([p + a for p, a in zip(prefixes, answers, strict=True)], audio)
    if runs == 2:
      lengths = self._process(list(prefixes), audio)["attention_mask"].sum(axis=1)
    else:
      lengths = full["attention_mask"].sum(axis=1) - len(answers)
    labels = full["input_ids"].copy()
    for row, length in enumerate(lengths.tolist()):
      labels[row, :length] = -100
    return sum(map(len, audio)) / SAMPLE_RATE

  def _process(self, texts: list[str], audio: list[np.ndarray]) -> dict[str, np.ndarray]:
    heard = self._extractor(
      audio,
      sampling_rate=SAMPLE_RATE,
      padding=True,
      truncation=False,
      return_attention_mask=True,
      return_tensors="np",
    )
    tokens = GEOMETRY.tokens(heard["attention_mask"].sum(axis=1)).tolist()
    texts = [text.replace(AUDIO_PAD, AUDIO_PAD * n) for text, n in zip(texts, tokens, strict=True)]
    return {**self._tokenizer(texts, padding=True, return_tensors="np"), **heard}


if __name__ == "__main__":
  main()
