"""Time of an LMU layer in its forms, forward and gradient, compared with pytorch-lmu.

    python -m benchmarks.lmu [--peer-python PYTHON --pytorch-lmu CHECKOUT]

PYTHON is one of an environment with torch and scipy, CHECKOUT a folder of
https://github.com/hrshtv/pytorch-lmu. Layers have 512 inputs, 512 hidden units and a memory of 256;
theta is 100, and 400 for 3,000 steps. Forms: recurrent (`LMU`), scan (`LMUFFT` with its memory step
by step), fft (`LMUFFT`). Each figure is the smallest of some turns, in milliseconds; the gradient
is that of weights and inputs, and includes the forward pass. The sides take a case one after the
other.

The last line is JSON: how many times faster fft is than the recurrent form for one row, and how
many times faster we are than the peer; the smallest of all cases, forward and gradient.
"""

import argparse
import contextlib
import functools
import json
import os
import pathlib
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from rich.console import Console
from rich.table import Table

from maxtext_ext.models.lmu import LMU, LMUFFT, LMUConfig

PEER = "peer_torch_lmu.py"
INPUTS, HIDDEN, MEMORY = 512, 512, 256
THETA = {400: 100.0, 1_500: 100.0, 3_000: 400.0}  # by the number of steps
ROWS = (1, 16)
ENOUGH = 2_000.0  # milliseconds of turns, after which there are no more
LAYERS: dict[str, Any] = {
  "recurrent": LMU,
  "scan": functools.partial(LMUFFT, form="scan"),
  "fft": LMUFFT,
}
Times = dict[str, float]  # milliseconds: forward, gradient


def smallest(run: Callable[[], Any], turns: int) -> float:
  """Returns the smallest milliseconds of some turns, after one that is not counted."""
  jax.block_until_ready(run())
  found: list[float] = []
  while len(found) < turns and sum(found) < ENOUGH:
    start = time.perf_counter()
    jax.block_until_ready(run())
    found.append(1e3 * (time.perf_counter() - start))
  return min(found)


def ours(form: str, rows: int, steps: int, turns: int) -> Times:
  """Times one of our forms."""
  config = LMUConfig(inputs=INPUTS, hidden=HIDDEN, memory=MEMORY, theta=THETA[steps])
  rngs = nnx.Rngs(params=0)
  layer = LAYERS[form](config, rngs=rngs)
  graph, params = nnx.split(layer)
  x_BTI = jax.random.normal(jax.random.key(0), (rows, steps, INPUTS))

  def run(params: nnx.State, x_BTI: jax.Array) -> jax.Array:
    return nnx.merge(graph, params)(x_BTI)[0]

  forward = jax.jit(run)
  gradient = jax.jit(jax.grad(lambda params, x: jnp.sum(run(params, x)), argnums=(0, 1)))
  return {
    "forward": smallest(lambda: forward(params, x_BTI), turns),
    "gradient": smallest(lambda: gradient(params, x_BTI), turns),
  }


@contextlib.contextmanager
def peer(python: str, checkout: str) -> Iterator[Callable[[str, int, int, int], Times]]:
  """Starts the peer; yields a function as `ours`, for the forms recurrent and fft."""
  command = [python, str(pathlib.Path(__file__).with_name(PEER)), checkout]
  pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
  with subprocess.Popen(command, **pipes) as process:
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def ask(form: str, rows: int, steps: int, turns: int) -> Times:
      case = {"layer": "LMU" if form == "recurrent" else "LMUFFT", "rows": rows, "steps": steps}
      case |= {"inputs": INPUTS, "hidden": HIDDEN, "memory": MEMORY}
      print(
        json.dumps({**case, "theta": THETA[steps], "turns": turns, "enough": ENOUGH}),
        file=stdin,
        flush=True,
      )
      answer = json.loads(stdout.readline())
      return {name: min(found) for name, found in answer.items()}

    yield ask
    stdin.close()


def main() -> None:
  """Times all cases, prints a table and the smallest ratios."""
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--peer-python", default=os.environ.get("PEER_PYTHON"))
  parser.add_argument("--pytorch-lmu", help="folder of a checkout of pytorch-lmu")
  parser.add_argument("--steps", type=int, nargs="+", choices=list(THETA), default=list(THETA))
  parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
  parser.add_argument("--turns", type=int, default=3)
  options = parser.parse_args()
  if bool(options.peer_python) != bool(options.pytorch_lmu):
    parser.error("--peer-python and --pytorch-lmu go together")
  names = ("forward", "gradient")
  columns = [f"{side}, {name}" for side in ("ours", "peer") for name in names]
  table = Table("steps", "rows", "form", *columns)
  to_recurrent: list[float] = []
  to_peer: list[float] = []
  with contextlib.ExitStack() as stack:
    ask = None
    if options.peer_python:
      ask = stack.enter_context(peer(options.peer_python, options.pytorch_lmu))
    for steps in options.steps:
      for rows in options.rows:
        times = {form: ours(form, rows, steps, options.turns) for form in LAYERS}
        for form, own in times.items():
          theirs = ask(form, rows, steps, options.turns) if ask and form != "scan" else {}
          shown = [f"{own[n]:.1f}" for n in names]
          shown += [f"{theirs[n]:.1f}" if theirs else "" for n in names]
          table.add_row(str(steps), str(rows), form, *shown)
          print(f"{steps} steps, {rows} rows, {form}: {' '.join(shown)}", flush=True)
          to_peer += [theirs[n] / own[n] for n in theirs]
        if rows == 1:
          to_recurrent += [times["recurrent"][n] / times["fft"][n] for n in names]
  Console(width=100).print(table)
  figures: dict[str, str | float] = {"name": "lmu"}
  for name, ratios in (("fft_to_recurrent", to_recurrent), ("ours_to_peer", to_peer)):
    if ratios:
      figures[name] = round(min(ratios), 2)
  print(json.dumps(figures))


if __name__ == "__main__":
  main()
