"""Memory of training and decoding on an H100: as XLA compiles it, beside what `plan` estimates.

    python benchmarks/gpu_memory.py

Needs the extra cuda12, and no GPU: XLA is told what an H100 is. That the steps and the programs of
decoding compile also says that every kernel they ask for exists there. About two minutes of one
core for each. The last line is JSON: the estimate that is furthest off, and what it is an estimate
of.
"""

import importlib.util
import json
import os
import sys
from collections.abc import Sequence

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
from absl import flags
from jax.experimental.topologies import get_topology_desc
from rich.console import Console
from rich.progress import track
from rich.table import Table

from maxtext_ext import bridge
from maxtext_ext.planning.compile_decode import DecodeCompiler
from maxtext_ext.planning.compile_step import compile_step, load_for
from maxtext_ext.planning.memory import GIB, Memory
from maxtext_ext.planning.topology import parse_topology
from maxtext_ext.planning.uncompiled import memory_of
from maxtext_ext.planning.uncompiled_decode import DecodeEstimator

GPU = parse_topology("gpu:80GB")
# As the driver describes one.
H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 }
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  l2_cache_size: 52428800
  memory_bandwidth: 3352320000000
  device_memory_size: 84929347584
}
platform_name: "CUDA"
runtime_version { major: 12 minor: 9 }
dnn_version_info { major: 9 minor: 7 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
LARGER = ("model_name=qwen3-asr-1.7b",)
ADAPTERS = ("lora_rank=16", "weight_dtype=bfloat16")
SETUPS = {
  "0.6B, every weight, 16 rows": (),
  "0.6B, every weight, 4 times 4 rows": (
    "per_device_batch_size=4",
    "gradient_accumulation_steps=4",
  ),
  "1.7B, every weight, 16 rows": LARGER,
  "1.7B, LoRA, 32 rows": (*LARGER, *ADAPTERS, "per_device_batch_size=32"),
}

# Models that are decoded, and their slots.
DECODED = {
  "0.6B, decoding in 256 slots": ((), 256),
  "1.7B, decoding in 256 slots": (LARGER, 256),
}


def measure(overrides: tuple[str, ...]) -> tuple[Memory, Memory]:
  """A step's memory: compiled, and estimated."""
  config = load(overrides)
  compiled = compile_step(config, gpu(), GPU.chip.hbm_bytes, with_cost=False, effort="O2")
  return compiled.memory, memory_of(config, GPU.chip.hbm_bytes)


def measure_decoding(overrides: tuple[str, ...], slots: int) -> tuple[Memory, Memory]:
  """The memory of decoding in so many slots: compiled, and estimated."""
  config, hbm_bytes = load((*overrides, "weight_dtype=bfloat16")), GPU.chip.hbm_bytes
  compiler = DecodeCompiler(config, gpu(), "gpu", hbm_bytes)
  places = compiler.describe().longest_places
  estimator = DecodeEstimator(config, jax.devices()[:1], "gpu", hbm_bytes)
  compiled, estimated = (each.memory(slots, places, "O2").total for each in (compiler, estimator))
  return compiled, estimated


def load(overrides: tuple[str, ...]) -> bridge.Config:
  """The experiment's configuration with other keys."""
  keys = [*overrides, "tokenizer_path=", "windows_per_row=15"]
  return load_for("configs/experiments/qwen3_asr_cuda.yml", keys, GPU)


def gpu() -> Sequence[jax.Device]:
  """Describes an H100."""
  return get_topology_desc("h100", "cuda", target_config=H100, topology="1x1x1").devices


def main() -> None:
  """Prints the comparison."""
  if importlib.util.find_spec("jax_cuda12_plugin") is None:
    sys.exit("error: XLA's compiler for CUDA is not installed here: setup/install.sh cuda12")
  flags.FLAGS(["", "--tokamax_cross_compile"])  # its kernels ask for the GPU that is not here
  console = Console()
  table = Table(title="GiB of an H100", box=None)
  for name in ("", "compiled", "estimated", "off"):
    table.add_column(name, justify="right" if name else "left")
  found = {}
  for name in track((*SETUPS, *DECODED), "compiling", console=Console(stderr=True)):
    if name in SETUPS:
      compiled, estimated = found[name] = measure(SETUPS[name])
    else:
      compiled, estimated = found[name] = measure_decoding(*DECODED[name])
    off = f"{estimated.used / compiled.used - 1:+.0%}"
    table.add_row(name, f"{compiled.used / GIB:.2f}", f"{estimated.used / GIB:.2f}", off)
  console.print(table)
  name = max(found, key=lambda name: abs(found[name][1].used / found[name][0].used - 1))
  peer, ours = (memory.used / GIB for memory in found[name])
  figures = {"name": "gpu_memory", "ours": ours, "peer": peer, "ratio": ours / peer}
  print(json.dumps({**figures, "unit": f"GiB, {name}"}))


if __name__ == "__main__":
  main()
