"""PEFT adapters of the tiny Qwen3-ASR with several ranks and scales, and what each module adds."""

import json
import pathlib
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from benchmarks.parity.references.weights import draw

FILE = pathlib.Path(__file__).parent / "lora_variants.json"
SEED = 7


def vector(size: int) -> np.ndarray:
  """Returns the vector by which every module's change is multiplied."""
  return np.random.default_rng(size).standard_normal(size).astype(np.float32)


def variants() -> dict[str, dict[str, Any]]:
  """`config`, text of adapter_config.json; `shapes`, of the tensors; `updates` by module."""
  return json.loads(FILE.read_text())


def write(variant: dict[str, Any], folder: pathlib.Path) -> pathlib.Path:
  """The adapter's folder as PEFT saves it."""
  folder.mkdir()
  (folder / "adapter_config.json").write_text(variant["config"])
  shapes = {name: tuple(shape) for name, shape in variant["shapes"].items()}
  save_file(draw(shapes, SEED), folder / "adapter_model.safetensors", {"format": "pt"})
  return folder
