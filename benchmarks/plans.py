"""Memory and estimated speed on TPU slices: the tables of docs/plans.md.

    python benchmarks/plans.py [--out docs/plans.md] [--fresh]

Every figure is of a training step compiled for its slice by libtpu's compiler, on this machine, as
`maxtext-ext plan` does. About half an hour of two CPU cores; results are kept in out/plans, so that
a second run resumes an interrupted one; --fresh starts over. The last line is JSON: the
weak scaling of the largest slice over the smallest.
"""

import argparse
import json
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from maxtext_ext.planning import report
from maxtext_ext.planning.calibration import counted_runs, left_out_error
from maxtext_ext.planning.compiler import Compiler
from maxtext_ext.planning.estimate import epoch
from maxtext_ext.planning.plan import make_plan
from maxtext_ext.planning.published import RUNS, TODAY
from maxtext_ext.planning.search import search
from maxtext_ext.planning.topology import parse_topology

CONFIG = "configs/speech.yml"
KEPT = Path("out/plans")
DECODING = "## Decoding"  # heading of the section that benchmarks/decode_plans.py makes
EPOCH_HOURS = 1000.0  # of audio
ROW = ("windows_per_row=15",)  # what 2048 tokens of packed speech hold
ASR = ("model_name=qwen3-asr-1.7b", *ROW)
OMNI = ("model_name=qwen3-omni-30b-a3b", *ROW)
HALF = "weight_dtype=bfloat16"
LORA = ("lora_rank=16", "lora_targets=[attention]", HALF)


@dataclass(frozen=True, kw_only=True)
class Setup:
  """A model, what of it trains, and a slice.

  Attributes:
    name: of its file in KEPT.
    rows: a chip, that must fit.
    searched: whether to search for the most rows that fit.
  """

  name: str
  title: str
  topology: str
  overrides: tuple[str, ...]
  rows: int
  searched: bool = False


def _sharded(**chips: int) -> tuple[str, ...]:
  """The keys that divide the model among so many chips by each axis of the mesh."""
  return tuple(f"ici_{axis}_parallelism={count}" for axis, count in chips.items())


def _name(model: str, chips: dict[str, int]) -> str:
  return "-".join([model, *(f"{axis}{count}" for axis, count in chips.items())])


def _asr(topology: str, *, searched: bool = False, **chips: int) -> Setup:
  return Setup(
    name=_name(f"asr-{topology}", chips),
    title="Qwen3-ASR-1.7B, every weight",
    topology=topology,
    overrides=(*ASR, *_sharded(**chips)),
    rows=16,
    searched=searched,
  )


def _omni_lora(*, searched: bool = False, **chips: int) -> Setup:
  return Setup(
    name=_name("omni-lora", chips),
    title="Qwen3-Omni-30B-A3B, LoRA of attention",
    topology="v4-32",
    overrides=(*OMNI, *LORA, *_sharded(**chips)),
    rows=4,
    searched=searched,
  )


SCALING = (_asr("v4-8", searched=True), _asr("v4-32"), _asr("v4-128"))
OMNI_LORA = _omni_lora(searched=True)
OMNI_FULL = Setup(
  name="omni-full",
  title="Qwen3-Omni-30B-A3B, every weight",
  topology="v4-128",
  overrides=OMNI,
  rows=4,
  searched=True,
)
ASR_LORA = Setup(
  name="asr-lora",
  title="Qwen3-ASR-1.7B, LoRA of attention and FFN",
  topology="v4-8",
  overrides=(*ASR, "lora_rank=16", HALF),
  rows=16,
  searched=True,
)
LARGEST = (OMNI_LORA, OMNI_FULL, ASR_LORA, SCALING[0])
OMNI_SHARDINGS = (
  OMNI_LORA,
  _omni_lora(fsdp=8, tensor=2),
  _omni_lora(fsdp=8, expert=2),
  _omni_lora(fsdp=4, expert=4),
)
ASR_SHARDINGS = (SCALING[1], _asr("v4-32", fsdp=8, tensor=2), _asr("v4-32", data=4, fsdp=4))


def measure(setup: Setup, console: Console) -> dict[str, Any]:
  """The plans of a setup: `asked`, and `largest` where it is looked for; from KEPT if there."""
  kept = KEPT / f"{setup.name}.json"
  if kept.exists():
    return json.loads(kept.read_text("utf-8"))

  def say(text: str) -> None:
    console.print(f"{setup.name}: {text}", highlight=False)

  keys = [*setup.overrides, f"per_device_batch_size={setup.rows}"]
  with Compiler(parse_topology(setup.topology)) as compiler:
    asked = make_plan(compiler, CONFIG, keys, say=say)
    assert asked.cost is not None, f"{setup.name}: {setup.rows} rows do not fit"
    results = {"asked": report.as_dict(asked, epoch(asked, EPOCH_HOURS))}
    if setup.searched:
      found = search(compiler, CONFIG, keys, known={setup.rows: asked.memory}, say=say)
      keys += found.overrides
      largest = make_plan(compiler, CONFIG, keys, memory=found.memory, say=say)
      results["largest"] = report.as_dict(largest, epoch(largest, EPOCH_HOURS))
  kept.parent.mkdir(parents=True, exist_ok=True)
  kept.write_text(json.dumps(results), "utf-8")
  return results


def table(rows: Sequence[tuple[Setup, dict[str, Any]]]) -> list[str]:
  """Markdown lines of plans."""
  lines = [
    "| | slice | rows a chip | remat | GiB a chip, of 30.75 | s a step"
    f" | audio s a chip and s | model FLOPs of peak | {EPOCH_HOURS:g} h of audio |",
    "|---|---|---:|---|---:|---:|---:|---:|---:|",
  ]
  for setup, plan in rows:
    price = f"{plan['epoch_hours']:.2f} h, ${plan['epoch_dollars']:.0f}"
    lines.append(
      f"| {setup.title} | {setup.topology} | {plan['rows_per_chip']:g} | {plan['remat_policy']}"
      f" | {plan['hbm_gib_per_chip']:.2f} | {plan['seconds_per_step']:.2f}"
      f" | {plan['audio_seconds_per_chip_second']:.0f} | {plan['mfu']:.1%} | {price} |"
    )
  return lines


def limits(rows: Sequence[tuple[str, dict[str, Any]]], *heads: str) -> list[str]:
  """Markdown lines of what takes how long; the name of a row has a cell for every head."""
  lines = [
    f"| {' | '.join(heads)} | GiB a chip | computing s | memory s | sending s | s a step |",
    f"|{'---|' * len(heads)}---:|---:|---:|---:|---:|",
  ]
  lines += [
    f"| {name} | {plan['hbm_gib_per_chip']:.2f} | {plan['seconds_computing']:.2f}"
    f" | {plan['seconds_memory']:.2f} | {plan['seconds_sending']:.2f}"
    f" | {plan['seconds_per_step']:.2f} |"
    for name, plan in rows
  ]
  return lines


def divided(plan: dict[str, Any]) -> str:
  """Describes how many chips divide each axis."""
  return ", ".join(f"{axis} {chips}" for axis, chips in plan["sharding"].items())


def fastest(shardings: Sequence[tuple[str, dict[str, Any]]]) -> str:
  """Names the model and chips of the shortest step."""
  chips, plan = min(shardings, key=lambda named: named[1]["seconds_per_step"])
  return f"{plan['model']} by {chips}"


def prose(text: str) -> list[str]:
  """Wraps a paragraph into lines."""
  return textwrap.wrap(" ".join(text.split()), 100, break_on_hyphens=False)


def calibration() -> list[str]:
  """Markdown lines of the published runs."""
  lines = [
    "| run | FLOPs a chip and step | s at peak | s measured | share of peak | error if left out |",
    "|---|---:|---:|---:|---:|---:|",
  ]
  runs = counted_runs()
  lines += [
    f"| {run.run.name} | {run.cost.total.flops:.3g} | {run.estimate(1.0).seconds:.1f}"
    f" | {run.run.seconds:.1f} | {run.share:.0%} | {left_out_error(run, runs):+.0%} |"
    for run in runs
  ]
  return lines


def page(results: dict[str, dict[str, Any]]) -> str:
  """Builds docs/plans.md."""
  first, last = (results[setup.name]["asked"] for setup in (SCALING[0], SCALING[-1]))
  (today,) = counted_runs((TODAY,))
  growth = last["seconds_per_step"] / first["seconds_per_step"] - 1
  in_turn = [plan["seconds_per_step"] + plan["seconds_sending"] for plan in (first, last)]
  asked = [(setup, results[setup.name]["asked"]) for setup in (OMNI_LORA, SCALING[0])]
  largest = [(setup, results[setup.name]["largest"]) for setup in LARGEST]
  scaling = [(setup.topology, results[setup.name]["asked"]) for setup in SCALING]
  omni, asr = (
    [(divided(results[setup.name]["asked"]), results[setup.name]["asked"]) for setup in setups]
    for setups in (OMNI_SHARDINGS, ASR_SHARDINGS)
  )
  shardings = [(f"{plan['model']} | {chips}", plan) for chips, plan in (*omni, *asr)]
  lines = [
    "# Memory and estimated speed on TPU slices",
    "",
    *prose(
      f"""Made by `python benchmarks/plans.py`; nothing here was run on a TPU. Each row is the real
      training step, audio encoder included, compiled for its slice on a CPU machine with libtpu
      {version("libtpu")}, jax {version("jax")} and MaxText {version("maxtext")}. Rows are 2048
      tokens with 15 windows of 8 s, in bfloat16, AdamW, weights divided over all chips (fsdp); with
      LoRA (rank 16) frozen weights are bfloat16, otherwise all are float32. Memory is what the
      compiler assigns at its lowest effort, arguments and temporaries; `--exact` compiles as a run
      does, and takes far longer. `maxtext-ext plan CONFIG --topology v4-32` makes the same for any
      configuration, and `--search` finds the largest."""
    ),
    "",
    "## With the experiments' rows",
    "",
    *table(asked),
    "",
    "## With the most rows that fit",
    "",
    *table(largest),
    "",
    "## Weak scaling",
    "",
    *prose(
      f"""{SCALING[0].title}, {SCALING[0].rows} rows a chip on every slice, collectives included: a
      step on {SCALING[-1].topology} takes {1 + growth:.3f} times one on {SCALING[0].topology}, as
      what fsdp sends is hidden behind computing; {in_turn[1] / in_turn[0]:.3f} times, were nothing
      of it hidden."""
    ),
    "",
    *limits(scaling, "slice"),
    "",
    "## Sharding of a model",
    "",
    *prose(
      f"""The same rows on the 16 chips of a v4-32, divided in other ways (`ici_fsdp_parallelism=8
      ici_tensor_parallelism=2`). By these estimates none is faster than {fastest(asr)}, and
      {fastest(omni)}. Fsdp sends weights, which it needs anyway and early; tensor parallelism sends
      every layer's activations, and experts that are divided are sent their tokens. For these
      MaxText keeps room as if all tokens chose the experts of one chip, and room that stays empty
      is counted as work, so that the lines with experts are the worst case. Replicas (data) need
      memory and gain no time. The experiments therefore ask for fsdp alone."""
    ),
    "",
    *limits(shardings, "", "chips"),
    "",
    "## Errors of the time estimates",
    "",
    *prose(
      """FLOPs, bytes of memory and bytes between chips are counted in unrolled steps of one layer
      and of two, whose difference is a layer's. Encoder, decoder and the rest follow each other,
      and each takes as long as the slowest of the three, at the chip's published peaks; of the peak
      in FLOP/s a share is reached that is fitted to published MaxText runs whose steps are counted
      in the same way (`python benchmarks/calibrate.py`). The last column is the error of a run's
      estimate from its generation's other run. All of them are dense and limited by computing: for
      the mixture of experts above, which memory limits, there is nothing to hold the estimate
      against. Steps of more than 8 rows are extrapolated from steps of 4 and of 8."""
    ),
    "",
    *calibration(),
    "",
    *prose(
      f"""The first run's published keys are 48 layers of 6144/24576 and 24 heads. With the defaults
      that MaxText has today they make a model of {TODAY.weights / 1e9:.1f}B (three matrices in a
      layer's feed-forward, heads of 128), whose step costs {today.cost.total.flops:.3g} FLOPs,
      {today.estimate(1.0).computing:.1f} s at peak. With those of April 2023, when it ran, they
      make {RUNS[0].weights / 1e9:.1f}B (two matrices, heads of 256): the first line above."""
    ),
    "",
  ]
  return "\n".join(lines)


def main() -> None:
  """Measures missing plans, and writes the page."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--out", type=Path, default=Path("docs/plans.md"))
  parser.add_argument("--fresh", action="store_true", help="forget what out/plans holds")
  options = parser.parse_args()
  if options.fresh:
    shutil.rmtree(KEPT, ignore_errors=True)
  console = Console(stderr=True)
  setups = dict.fromkeys((*LARGEST, *SCALING, *OMNI_SHARDINGS, *ASR_SHARDINGS))
  results = {setup.name: measure(setup, console) for setup in setups}
  before = options.out.read_text("utf-8") if options.out.exists() else ""
  _, heading, decoding = before.partition(f"\n{DECODING}\n")
  options.out.write_text(page(results) + heading + decoding, "utf-8")
  smallest, largest = (
    results[setup.name]["asked"]["seconds_per_step"] for setup in (SCALING[0], SCALING[-1])
  )
  figures = {"name": "plans", "ours": largest, "peer": smallest, "ratio": largest / smallest}
  print(
    json.dumps({**figures, "unit": f"s a step, {SCALING[-1].topology} over {SCALING[0].topology}"})
  )


if __name__ == "__main__":
  main()
