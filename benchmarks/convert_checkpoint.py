"""Memory and time of converting checkpoints, beside a conversion that holds the model.

    python benchmarks/convert_checkpoint.py

Random Qwen3-ASR checkpoints in bfloat16 are created in a temporary folder, which needs about three
times the largest of them. Every conversion is a process of its own, whose peak memory is the
system's figure for it. The peer reads the tensors with safetensors, stacks them and saves them with
Orbax. The last line is JSON; `ours` and `peer` are bytes of peak memory for each further byte of
the checkpoint.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
GB = 10**9
AUDIO = {
  "num_mel_bins": 128,
  "d_model": 896,
  "encoder_layers": 18,
  "encoder_attention_heads": 14,
  "encoder_ffn_dim": 3584,
  "downsample_hidden_size": 480,
}
TEXT = {
  "num_attention_heads": 16,
  "num_key_value_heads": 8,
  "head_dim": 128,
  "rms_norm_eps": 1e-6,
  "rope_theta": 1e6,
  "tie_word_embeddings": True,
}
SHAPE_0_6B = {
  "hidden_size": 1024,
  "intermediate_size": 3072,
  "num_hidden_layers": 28,
  "vocab_size": 151936,
}
SHAPE_1_7B = {**SHAPE_0_6B, "hidden_size": 2048, "intermediate_size": 6144}


def config_of(nbytes: float) -> dict:
  """config.json of a checkpoint of about `nbytes`: the 1.7B's widths, fewer layers and tokens.

  At 4 GB the vocabulary is whole; its table, 0.6 GB, is the largest tensor.
  """
  text = dict(SHAPE_1_7B)
  part = min(1.0, nbytes / (4 * GB))
  text["vocab_size"] = int(part * text["vocab_size"]) // 64 * 64
  layers = (nbytes / 2 - 200e6 - text["vocab_size"] * 2048) / 50.3e6
  text["num_hidden_layers"] = max(1, round(layers))
  return full_config(text)


def full_config(text: dict) -> dict:
  """config.json, original form, of the given language model with the 0.6B's audio tower."""
  audio = {**AUDIO, "output_dim": text["hidden_size"]}
  inside = {"audio_config": audio, "text_config": {**TEXT, **text}}
  return {"model_type": "qwen3_asr", "thinker_config": inside}


def write_checkpoint(folder: Path, config: dict) -> int:
  """Writes a random checkpoint in bfloat16; returns its size in bytes."""
  from maxtext_ext.checkpoint import qwen3_asr
  from maxtext_ext.checkpoint.hf_io import HfWriter
  from maxtext_ext.checkpoint.keymap import places_by_name

  folder.mkdir()
  (folder / "config.json").write_text(json.dumps(config))
  sizes = qwen3_asr.sizes(qwen3_asr.model_keys(config))
  places = places_by_name(qwen3_asr.rules("original", True), sizes)
  dtype = np.dtype(ml_dtypes.bfloat16)
  shapes = {name: (dtype, found[0].rule.hf_shape(sizes)) for name, found in places.items()}
  noise = np.random.default_rng(0).normal(size=2**22).astype(dtype)
  with HfWriter(str(folder), shapes) as writer:
    for name, (_, shape) in shapes.items():
      step = max(1, len(noise) // math.prod(shape[1:]))
      for first in range(0, shape[0], step):
        with writer.rows(name, slice(first, first + step)) as rows:
          rows[...] = noise[: rows.size].reshape(rows.shape)
    return sum(info.nbytes for info in writer.tensors.values())


def convert_ours(source: str, out: str) -> None:
  """The project's conversion."""
  from maxtext_ext.checkpoint.convert import to_maxtext

  to_maxtext(source, out)


def convert_whole(source: str, out: str) -> None:
  """The peer: everything in memory, then Orbax."""
  from orbax.checkpoint import v1 as ocp
  from safetensors.numpy import load_file

  from maxtext_ext.checkpoint import qwen3_asr
  from maxtext_ext.checkpoint.keymap import our_shapes, places_by_name

  config = json.loads((Path(source) / "config.json").read_text())
  sizes = qwen3_asr.sizes(qwen3_asr.model_keys(config))
  rules = qwen3_asr.rules("original", True)
  tensors = {}
  for file in sorted(Path(source).glob("*.safetensors")):
    tensors |= load_file(file)
  dtype = np.dtype(ml_dtypes.bfloat16)
  arrays = {path: np.empty(shape, dtype) for path, shape in our_shapes(rules, sizes).items()}
  for name, places in places_by_name(rules, sizes).items():
    for place in places:
      arrays[place.path][place.slot()] = place.rule.view(tensors[name], sizes)
  ocp.save(Path(out).absolute() / "0", {"params": {"params": arrays}}, checkpointable_name="items")


CONVERSIONS = {"ours": convert_ours, "whole": convert_whole}


def measure(name: str, source: Path, out: Path) -> tuple[int, float]:
  """Peak resident bytes and seconds of a conversion in a process of its own, imports included."""
  start = time.perf_counter()
  process = subprocess.Popen(
    [sys.executable, __file__, "--convert", name, str(source), str(out)],
    env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
    stdout=subprocess.PIPE,
    text=True,
  )
  with process:
    peak = int(process.stdout.readline())
  if process.returncode:
    raise SystemExit(f"{name} of {source} failed with status {process.returncode}")
  return peak, time.perf_counter() - start


def run_one(name: str, source: str, out: str) -> None:
  """Converts and prints the peak memory, inside the measured process."""
  CONVERSIONS[name](source, out)
  print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def measure_sizes(
  name: str, sizes: list[float], scratch: Path, table: Table
) -> Iterator[tuple[int, int]]:
  """Size and peak of a conversion for checkpoints of several sizes, in GB."""
  for size in sizes:
    source, out = scratch / f"{name}-{size}", scratch / f"{name}-{size}-out"
    nbytes = write_checkpoint(source, config_of(size * GB))
    peak, seconds = measure(name, source, out)
    table.add_row(name, f"{nbytes / GB:.2f} GB", f"{peak / GB:.2f} GB", f"{seconds:.1f} s")
    subprocess.run(["rm", "-rf", source, out], check=True)
    yield nbytes, peak


def growth(points: list[tuple[int, int]]) -> float:
  """Bytes of memory for each byte of the checkpoint, between the first size and the last."""
  (small, low), (large, high) = points[0], points[-1]
  return (high - low) / (large - small)


def main() -> None:
  """Measures, and prints the table and the JSON line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--sizes", type=float, nargs=2, default=[0.5, 4.0], help="GB, ours")
  parser.add_argument("--peer-sizes", type=float, nargs=2, default=[0.5, 1.5], help="GB, the peer")
  parser.add_argument("--quick", action="store_true", help="without the 0.6B and its time")
  parser.add_argument("--convert", nargs=3, help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.convert:
    run_one(*options.convert)
    return
  table = Table(min_width=70, title=f"conversion to MaxText's layout, {os.cpu_count()} cores")
  for column in ("conversion", "checkpoint", "peak memory", "time"):
    table.add_column(column, justify="left" if column == "conversion" else "right")
  figures = {"name": "convert_checkpoint"}
  with tempfile.TemporaryDirectory() as folder:
    scratch = Path(folder)
    ours = growth(list(measure_sizes("ours", options.sizes, scratch, table)))
    peer = growth(list(measure_sizes("whole", options.peer_sizes, scratch, table)))
    if not options.quick:
      write_checkpoint(scratch / "0.6b", full_config(SHAPE_0_6B))
      peak, seconds = measure("ours", scratch / "0.6b", scratch / "0.6b-out")
      table.add_row("ours", "Qwen3-ASR-0.6B", f"{peak / GB:.2f} GB", f"{seconds:.1f} s")
      figures |= {"seconds_0_6b": round(seconds, 1)}
  Console(width=100).print(table)
  figures |= {
    "ours": round(ours, 4),
    "peer": round(peer, 4),
    "ratio": round(ours / peer, 4),
    "unit": "bytes of peak memory per byte of checkpoint",
  }
  print(json.dumps(figures))


if __name__ == "__main__":
  main()
