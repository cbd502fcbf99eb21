"""Memory and estimated speed of decoding on TPU slices: the section Decoding of docs/plans.md.

    python -m benchmarks.decode_plans [--out docs/plans.md] [--fresh]

The section stands at the end of the page. Both programs of the engine are compiled for the slice by
libtpu's compiler, on this machine, as `maxtext-ext plan --decode` does. About a quarter of an hour;
results are kept in out/decode_plans. The last line is JSON: times real time of Qwen3-Omni-30B-A3B
on a v4-32, and in the slowest division.
"""

import argparse
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.plans import CONFIG, DECODING, HALF, prose
from maxtext_ext.planning import decode_report
from maxtext_ext.planning.clip_mix import LONGEST, TEXT_RATE
from maxtext_ext.planning.compiler import Compiler
from maxtext_ext.planning.decode_estimate import (
  BANDWIDTH_SHARE,
  OCCUPANCY,
  ROW_SHARE,
  DecodePlan,
  estimate,
)
from maxtext_ext.planning.decode_plan import (
  Division,
  compare_divisions,
  divisions,
  make_plan,
  mix_of,
)
from maxtext_ext.planning.topology import parse_topology

KEPT = Path("out/decode_plans")
HOURS = 1000.0
SHORT, LONG = 6.0, 30.0  # median seconds of the clips


@dataclass(frozen=True, kw_only=True)
class Setup:
  """A model on a slice."""

  model: str
  topology: str

  @property
  def name(self) -> str:
    """Name of its file in KEPT."""
    return f"{self.model}-{self.topology}"


OMNI = Setup(model="qwen3-omni-30b-a3b", topology="v4-32")
SETUPS = (
  Setup(model="qwen3-asr-0.6b", topology="v4-32"),
  Setup(model="qwen3-asr-1.7b", topology="v4-32"),
  OMNI,
)


def measure(setup: Setup, console: Console) -> dict[str, Any]:
  """Plans for short and long clips, and the divisions that were compared; from KEPT if there."""
  kept = KEPT / f"{setup.name}.json"
  if kept.exists():
    return json.loads(kept.read_text("utf-8"))

  def say(text: str) -> None:
    console.print(f"{setup.name}: {text}", highlight=False)

  keys = [f"model_name={setup.model}", HALF]
  compared: list[Division] = []
  with Compiler(parse_topology(setup.topology)) as compiler:
    best, *others = divisions(compiler, CONFIG, keys)
    if others:
      compared = compare_divisions(compiler, CONFIG, keys, seconds=SHORT, say=say)
      best = compared[0].keys
    keys += best
    plan = make_plan(compiler, CONFIG, keys, seconds=SHORT, fit_slots=True, say=say)
  assert isinstance(plan, DecodePlan), "what is searched fits"
  long = estimate(plan.target, plan.shape, mix_of(plan.shape, LONG), plan.memory, plan.costs)
  result = {
    "plans": [decode_report.as_dict(each, HOURS) for each in (plan, long)],
    "divisions": [decode_report.as_dict(each.plan, HOURS) for each in compared],
  }
  kept.parent.mkdir(parents=True, exist_ok=True)
  kept.write_text(json.dumps(result), "utf-8")
  return result


def table(plans: list[dict[str, Any]]) -> list[str]:
  """Markdown lines of plans."""
  lines = [
    "| | slice | chips | clips | slots a lane | weights | KV cache | ready | in all, GiB a chip"
    f" | ms a step | limited by | times real time | {HOURS:g} h of audio |",
    "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---|---:|---:|",
  ]
  for plan in plans:
    lines.append(
      f"| {plan['model']} | {plan['topology']} | {decode_report.described(plan['sharding'])}"
      f" | {plan['clip_seconds']:.1f} s | {plan['decode_rows']} | {plan['hbm_gib_weights']:.1f}"
      f" | {plan['hbm_gib_cache']:.1f} | {plan['hbm_gib_ready']:.1f}"
      f" | {plan['hbm_gib_per_chip']:.1f} of {plan['hbm_gib_available']:.2f}"
      f" | {1000 * plan['seconds_step']:.1f} | {plan['bound']} | {plan['rtfx']:.0f}"
      f" | ${plan['dollars']:.2f} |"
    )
  return lines


def division_table(plans: list[dict[str, Any]]) -> list[str]:
  """Markdown lines of the divisions of a slice."""
  lines = [
    "| chips | lanes | slots a lane | ms a row of prompts | ms a step | a step is limited by"
    " | times real time |",
    "|---|---:|---:|---:|---:|---|---:|",
  ]
  lines += [
    f"| {decode_report.described(plan['sharding'])} | {plan['lanes']} | {plan['decode_rows']}"
    f" | {1000 * plan['seconds_prefill']:.0f} | {1000 * plan['seconds_step']:.1f}"
    f" | {plan['step_bound']} | {plan['rtfx']:.0f} |"
    for plan in plans
  ]
  return lines


def section(results: dict[str, dict[str, Any]]) -> list[str]:
  """Markdown lines of the section."""
  return [
    DECODING,
    "",
    *prose(
      f"""Made by `python -m benchmarks.decode_plans`; an estimate, nothing of it was run on a TPU.
      `prefill` and `window`, the programs of the decoding engine, are compiled for the slice with
      weights in bfloat16; memory is what the compiler assigns, with the most slots that fit. Each
      has room for a clip of {LONGEST:g} s. Clips are log-normal with a median of {SHORT:g} or
      {LONG:g} s, at most {LONGEST:g} s (the column has their mean), and have {TEXT_RATE:g} tokens
      of text a second. Encoder, prefill, steps and what follows a window take turns; each takes as
      long as the slowest of computing, memory and links, counted in programs of one and two layers,
      at the calibrated share of the peak FLOP/s, {BANDWIDTH_SHARE:.0%} of the bandwidths,
      {OCCUPANCY:.0%} of the slots and {ROW_SHARE:.0%} of the rows in use. Reading files is left
      out. `maxtext-ext plan CONFIG --decode --search --topology v4-32` makes the same for any
      configuration of greedy decoding; `beams` above 1 are refused."""
    ),
    "",
    *table([plan for setup in SETUPS for plan in results[setup.name]["plans"]]),
    "",
    *prose(
      f"""A model that fits a chip is best kept whole on each (`ici_data_parallelism=16`), and
      nothing is sent. {OMNI.model} has to be divided among four, with as many slots as there is
      about room for:"""
    ),
    "",
    *division_table(results[OMNI.name]["divisions"]),
    "",
    *prose(
      """With fsdp, as for training, every step gathers all weights. With experts divided MaxText
      keeps room as if all tokens chose the experts of one chip, and all of that room is counted, so
      that line is the worst case."""
    ),
    "",
  ]


def main() -> None:
  """Measures missing plans, and writes the section."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--out", type=Path, default=Path("docs/plans.md"))
  parser.add_argument("--fresh", action="store_true", help="forget what out/decode_plans holds")
  options = parser.parse_args()
  if options.fresh:
    shutil.rmtree(KEPT, ignore_errors=True)
  console = Console(stderr=True)
  results = {setup.name: measure(setup, console) for setup in SETUPS}
  before, _, _ = options.out.read_text("utf-8").partition(f"\n{DECODING}\n")
  options.out.write_text("\n".join([before.rstrip(), "", *section(results)]), "utf-8")
  omni = results[OMNI.name]
  ours, peer = omni["plans"][0]["rtfx"], omni["divisions"][-1]["rtfx"]
  figures = {"name": "decode_plans", "ours": ours, "peer": peer, "ratio": ours / peer}
  print(json.dumps({**figures, "unit": f"times real time, {OMNI.model} on {OMNI.topology}"}))


if __name__ == "__main__":
  main()
