"""Writes projectors.npz: weights, inputs and outputs of projectors in PyTorch.

In the environment of `make_qwen3_asr`, from the repository root:

  python -m tests.golden.make_projectors
"""

import pathlib

import numpy as np
import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm

IN, HIDDEN, OUT, TOKENS = 20, 24, 12, 7
PATH = pathlib.Path(__file__).with_name("projectors.npz")


def build() -> dict[str, nn.Sequential]:
  """The projectors of SLAM-LLM and tiny-audio, behind the stacking of frames."""
  return {
    "slam": nn.Sequential(nn.Linear(IN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, OUT)),
    "normed_mlp": nn.Sequential(
      nn.Linear(IN, HIDDEN, bias=False),
      LlamaRMSNorm(HIDDEN, eps=1e-6),
      nn.GELU(),
      nn.Linear(HIDDEN, OUT, bias=False),
      LlamaRMSNorm(OUT, eps=1e-6),
    ),
  }


@torch.no_grad()
def main() -> None:
  """Draws every weight, norms included, and runs tokens of which one is zeros."""
  torch.manual_seed(0)
  x = torch.randn(TOKENS, IN) * torch.logspace(-3, 2, TOKENS)[:, None]
  x[3] = 0
  out = {"x": x.numpy()}
  for name, projector in build().items():
    for key, value in projector.state_dict().items():
      value.add_(torch.randn_like(value) / 4)
      out[f"{name}/{key}"] = value.numpy()
    out[f"{name}/y"] = projector(x).numpy()
  np.savez_compressed(PATH, **out)


if __name__ == "__main__":
  main()
