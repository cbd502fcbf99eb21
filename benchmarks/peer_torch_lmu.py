"""The peer of `lmu.py`: one layer of pytorch-lmu, one case at a time.

Run by `lmu.py`, in an environment of Python 3.11 with torch and scipy, with the folder of a
checkout of https://github.com/hrshtv/pytorch-lmu as its argument. Reads cases from stdin, a line of
JSON each: layer (LMU or LMUFFT), rows, steps, inputs, hidden, memory, theta, turns, enough
(milliseconds after which there are no more turns). Writes the milliseconds of each turn, forward
alone, and forward and gradient.
"""

import importlib.util
import json
import pathlib
import sys
import time
from collections.abc import Callable

import torch


def main(folder: str) -> None:
  """Answers cases until stdin ends."""
  spec = importlib.util.spec_from_file_location("pytorch_lmu", pathlib.Path(folder, "src/lmu.py"))
  assert spec is not None
  assert spec.loader is not None
  lmu = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(lmu)
  for line in sys.stdin:
    case = json.loads(line)
    sizes = [case[name] for name in ("inputs", "hidden", "memory")]
    if case["layer"] == "LMUFFT":
      layer = lmu.LMUFFT(*sizes, case["steps"], case["theta"])
    else:
      layer = lmu.LMU(*sizes, case["theta"])
    x = torch.randn(case["rows"], case["steps"], case["inputs"], requires_grad=True)

    def forward(layer: torch.nn.Module = layer, x: torch.Tensor = x) -> None:
      with torch.no_grad():
        layer(x)

    def gradient(layer: torch.nn.Module = layer, x: torch.Tensor = x) -> None:
      layer.zero_grad()
      x.grad = None
      layer(x)[0].sum().backward()

    limits = case["turns"], case["enough"]
    answer = {"forward": times(forward, *limits), "gradient": times(gradient, *limits)}
    print(json.dumps(answer), flush=True)


def times(run: Callable[[], None], turns: int, enough: float) -> list[float]:
  """Milliseconds of each turn, after one that is not counted."""
  run()
  found: list[float] = []
  while len(found) < turns and sum(found) < enough:
    start = time.perf_counter()
    run()
    found.append(1e3 * (time.perf_counter() - start))
  return found


if __name__ == "__main__":
  main(sys.argv[1])
