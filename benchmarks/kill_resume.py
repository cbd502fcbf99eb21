"""Bit-equality of a training run that is killed ten times with one that is not.

    python -m benchmarks.kill_resume

Both train the same steps of a tiny model with all that is random at work: shuffling, dropout,
masked spectra. One is sent SIGKILL again and again, each time at a random moment after another
share of the steps, and started again by the same command. Then the losses of all steps and every
array of the last checkpoints (weights, optimizer, random streams) are compared. The last line is
JSON; `ours` and `peer` are the steps of the killed run whose loss is that of the other, and all.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp
from rich.console import Console
from rich.table import Table

from benchmarks.startup import ROOT, TRAIN, write_data

KEYS = (
  *("base_num_decoder_layers=1", "encoder_layers_for_audio=1", "per_device_batch_size=2"),
  *("enable_dropout=true", "dropout_rate=0.2", "gradient_accumulation_steps=2"),
  *("curriculum=[]", "eval_interval=-1", "checkpoint_period=3", "enable_tensorboard=false"),
)
MAX_DELAY = 0.5  # seconds between the step that is waited for and the kill
LIMIT = 900.0  # seconds for a process


class Runs:
  """Runs of one command with names of their own, in a folder."""

  def __init__(self, folder: Path, steps: int) -> None:
    self._folder = folder
    self._keys = [*write_data(folder), *KEYS, f"steps={steps}"]

  def folder(self, name: str) -> Path:
    """Returns the folder of a run."""
    return self._folder / "runs" / name

  def train(self, name: str, killed: Callable[[], bool] = lambda: False) -> int:
    """Trains to the end or to the kill; returns the exit status, or -signal."""
    keys = [*self._keys, f"run_name={name}", f"jax_cache_dir={self._folder / 'programs'}"]
    environment = {
      **os.environ,
      "JAX_PLATFORMS": "cpu",
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    log = self._folder / "log.txt"
    with log.open("wb") as out:
      process = subprocess.Popen([*TRAIN, *keys], cwd=ROOT, env=environment, stdout=out, stderr=out)
    until = time.monotonic() + LIMIT
    while process.poll() is None:
      if killed() or time.monotonic() > until:
        process.kill()
      time.sleep(0.005)
    if process.returncode not in (0, -signal.SIGKILL):
      raise SystemExit(log.read_text("utf-8"))
    return process.returncode

  def losses(self, name: str) -> dict[int, float]:
    """Reads the loss of each step from metrics.jsonl."""
    path = self.folder(name) / "metrics.jsonl"
    # A line that is being written has no end yet.
    lines = path.read_text("utf-8").rpartition("\n")[0].splitlines() if path.exists() else []
    return {each["step"]: each["loss"] for each in map(json.loads, lines)}

  def saved(self, name: str) -> list[int]:
    """Lists the steps of a run's checkpoints."""
    names = (path.name for path in (self.folder(name) / "checkpoints").glob("*"))
    return sorted(int(each) for each in names if each.isdigit())

  def arrays(self, name: str) -> dict[str, np.ndarray]:
    """Reads the arrays of a run's last checkpoint, by path."""
    step = self.folder(name) / "checkpoints" / str(self.saved(name)[-1])
    leaves = jax.tree.leaves_with_path(ocp.load_checkpointables(step, {"items": None})["items"])
    return {jax.tree_util.keystr(path): _values(leaf) for path, leaf in leaves}


def _values(leaf: Any) -> np.ndarray:
  is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
  return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


class Moment:
  """A random moment of a run: some time after a step."""

  def __init__(self, runs: Runs, name: str, step: int, rng: random.Random) -> None:
    self._reached = lambda: len(runs.losses(name)) >= step
    self._delay = rng.uniform(0, MAX_DELAY)
    self._at: float | None = None

  def __call__(self) -> bool:
    """Returns whether it has been reached."""
    if self._at is None and self._reached():
      self._at = time.monotonic() + self._delay
    return self._at is not None and time.monotonic() >= self._at


def main() -> None:
  """Trains, compares, and prints the table and the JSON line."""
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--kills", type=int, default=10)
  parser.add_argument("--steps", type=int, default=120)
  parser.add_argument("--seed", type=int, default=0, help="of the moments")
  args = parser.parse_args()
  rng = random.Random(args.seed)
  table = Table("kill", "after step", "latest checkpoint", "a save was under way")
  with tempfile.TemporaryDirectory() as folder:
    runs = Runs(Path(folder), args.steps)
    runs.train("whole")
    for kill in range(1, args.kills + 1):
      step = args.steps * kill // (args.kills + 1)
      if runs.train("killed", Moment(runs, "killed", step, rng)) == 0:
        raise SystemExit(f"the run ended before it was killed for the {kill}th time: more --steps")
      saving = any((runs.folder("killed") / "checkpoints").glob("*-tmp"))
      latest = max(runs.saved("killed"), default=None)
      table.add_row(str(kill), str(len(runs.losses("killed"))), str(latest), "yes" * saving)
    runs.train("killed")
    losses = {name: runs.losses(name) for name in ("whole", "killed")}
    arrays = {name: runs.arrays(name) for name in ("whole", "killed")}
  equal = sum(losses["killed"].get(step) == loss for step, loss in losses["whole"].items())
  same = [
    path
    for path, array in arrays["whole"].items()
    if np.array_equal(array, arrays["killed"].get(path))
  ]
  console = Console()
  console.print(table)
  console.print(
    f"{equal} of {args.steps} losses and {len(same)} of {len(arrays['whole'])} arrays of the last"
    " checkpoint are bit-equal to those of the run that was not killed"
  )
  result = {
    "name": "kill_resume",
    "ours": equal,
    "peer": args.steps,
    "ratio": equal / args.steps,
    "unit": "steps with bit-equal losses",
    "kills": args.kills,
    "equal_arrays": len(same),
    "arrays": len(arrays["whole"]),
  }
  print(json.dumps(result))
  if equal < args.steps or len(same) < len(arrays["whole"]):
    raise SystemExit(1)


if __name__ == "__main__":
  main()
