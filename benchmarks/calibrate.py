"""Calibration of step time estimates on MaxText's published runs: counts, fits, compares.

    python benchmarks/calibrate.py [--fresh]

The step of each run in maxtext_ext/planning/published.py is compiled for its slice as
`maxtext-ext plan` compiles: one layer and two, not looped over, the difference times the number of
layers. What a chip computes, moves and sends goes to maxtext_ext/planning/published.json, which
every estimate is calibrated with. Some minutes; runs that are in the file already are not counted
again without --fresh. The last line is JSON: the largest error of an estimate whose own run was
left out of the calibration.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from maxtext_ext.planning import calibration
from maxtext_ext.planning.calibration import CountedRun, from_json, left_out_error
from maxtext_ext.planning.compiler import Compiler
from maxtext_ext.planning.cost import BASE, MORE_DECODER, StepCost
from maxtext_ext.planning.plan import step_cost
from maxtext_ext.planning.published import RUNS, TODAY, PublishedRun
from maxtext_ext.planning.topology import parse_topology

CONFIG = "configs/speech.yml"
FILE = Path(calibration.__file__).with_name(calibration.COUNTED)


def count(run: PublishedRun, console: Console) -> StepCost:
  """Counts the cost of a run's step, from small steps."""

  def say(text: str) -> None:
    console.print(f"{run.name}: {text}", highlight=False)

  with Compiler(parse_topology(run.topology)) as compiler:
    shape = compiler.describe(CONFIG, run.overrides)
    cost, _ = step_cost(compiler, CONFIG, run.overrides, shape, say, counted=(BASE, MORE_DECODER))
  return cost


def show(runs: list[CountedRun], console: Console) -> None:
  """Prints what a chip does in a step, and the error of each estimate without its own time."""
  table = Table(box=None)
  table.add_column("run", no_wrap=True)
  for name in ("FLOPs", "at peak", "memory", "sending", "measured", "of peak", "left out"):
    table.add_column(name, justify="right")
  for run in runs:
    at_peak = run.estimate(1.0)
    table.add_row(
      run.run.name,
      f"{run.cost.total.flops:.3g}",
      f"{at_peak.computing:.2f} s",
      f"{at_peak.memory:.2f} s",
      f"{at_peak.sending:.2f} s",
      f"{run.run.seconds:.2f} s",
      f"{run.share:.1%}",
      f"{left_out_error(run, runs):+.1%}",
    )
  console.print(table)


def main() -> None:
  """Counts missing runs, and prints the table."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--fresh", action="store_true", help="count every run again")
  options = parser.parse_args()
  console = Console(stderr=True)
  costs = json.loads(FILE.read_text("utf-8")) if FILE.exists() and not options.fresh else {}
  for run in (*RUNS, TODAY):
    if run.name not in costs:
      costs[run.name] = asdict(count(run, console))
      FILE.write_text(json.dumps(costs, indent=2) + "\n", "utf-8")
  runs = from_json(json.dumps(costs))
  show(runs, Console())
  (today,) = from_json(json.dumps(costs), [TODAY])
  at_peak = today.estimate(1.0).computing
  print(f"{TODAY.name}: {today.cost.total.flops:.3g} FLOPs, {at_peak:.1f} s at peak")
  worst = max(abs(left_out_error(run, runs)) for run in runs)
  figures = {"name": "calibrate", "ours": 1 + worst, "peer": 1.0, "ratio": 1 + worst}
  print(json.dumps({**figures, "unit": "estimated over measured seconds, the worst left out"}))


if __name__ == "__main__":
  main()
