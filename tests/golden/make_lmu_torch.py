"""Writes lmu_torch.npz: weights, outputs and gradients of both layers of pytorch-lmu.

In an environment of Python 3.11 with torch and scipy, from the repository root, with a checkout of
https://github.com/hrshtv/pytorch-lmu:

  python -m tests.golden.make_lmu_torch CHECKOUT
"""

import importlib.util
import pathlib
import sys
from types import ModuleType

import numpy as np
import torch

INPUTS, HIDDEN, MEMORY, THETA = 3, 8, 32, 40
LENGTHS = (1, 2, 37, 400)
FILE = pathlib.Path(__file__).with_name("lmu_torch.npz")


def checkout(folder: str) -> ModuleType:
  """Imports the one module of a checkout."""
  spec = importlib.util.spec_from_file_location("pytorch_lmu", pathlib.Path(folder, "src/lmu.py"))
  assert spec is not None
  assert spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def main(folder: str) -> None:
  """Runs both layers on the first steps of the same input."""
  lmu = checkout(folder)
  torch.manual_seed(0)
  x = torch.randn(2, max(LENGTHS), INPUTS)
  saved = {"x": x.numpy()}

  def run(name: str, layer: torch.nn.Module, steps: int) -> None:
    layer.zero_grad()
    out = layer(x[:, :steps])[0]
    out.sin().sum().backward()
    saved[f"{name}/out/{steps}"] = out.detach().numpy()
    for key, weight in layer.named_parameters():
      saved[f"{name}/gradient/{steps}/{key}"] = weight.grad.numpy().copy()

  recurrent = lmu.LMU(INPUTS, HIDDEN, MEMORY, THETA)
  torch.nn.init.normal_(recurrent.cell.e_m, std=0.1)  # zero hides errors
  saved |= {f"lmu/state/{key}": value.numpy() for key, value in recurrent.state_dict().items()}
  weights = None
  for steps in LENGTHS:
    run("lmu", recurrent, steps)
    parallel = lmu.LMUFFT(INPUTS, HIDDEN, MEMORY, steps, THETA)  # it runs on this length alone
    if weights is None:
      weights = {key: value.clone() for key, value in parallel.named_parameters()}
    parallel.load_state_dict(weights, strict=False)
    run("lmufft", parallel, steps)
    if steps == 2:  # the state dict grows with the length
      saved |= {f"lmufft/state/{key}": v.numpy() for key, v in parallel.state_dict().items()}
  np.savez_compressed(FILE, **saved)
  print(f"{FILE.name}: {len(saved)} arrays, {FILE.stat().st_size} bytes")


if __name__ == "__main__":
  main(sys.argv[1])
