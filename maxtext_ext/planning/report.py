"""Reports of a plan: a table for people, JSON for programs."""

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from maxtext_ext.planning.calibration import efficiency
from maxtext_ext.planning.estimate import Epoch, MemoryPlan
from maxtext_ext.planning.memory import GIB


def as_dict(plan: MemoryPlan, epoch: Epoch | None = None) -> dict[str, Any]:
  """Returns what `--json` prints; times are None where the step does not fit."""
  time, reached = plan.time, efficiency(plan.target.chip)
  return {
    "model": plan.shape.model,
    "topology": plan.target.name,
    "chips": plan.target.chips,
    "compiled": plan.target.compiled,
    "fits": plan.memory.fits,
    "rows_per_chip": plan.shape.micro_rows_per_chip,
    "gradient_accumulation_steps": plan.shape.accumulation,
    "tokens_per_row": plan.shape.tokens_per_row,
    "sharding": plan.shape.sharding,
    "windows_per_row": plan.shape.windows_per_row,
    "remat_policy": plan.shape.remat,
    "hbm_gib_per_chip": round(plan.memory.used / GIB, 3),
    "hbm_gib_arguments": round(plan.memory.arguments / GIB, 3),
    "hbm_gib_temporaries": round(plan.memory.temporaries / GIB, 3),
    "hbm_gib_available": round(plan.memory.available / GIB, 3),
    "seconds_per_step": time and round(time.seconds, 4),
    "seconds_error": time and round(reached.error, 3),
    "seconds_bound": time and time.bound,
    "seconds_computing": time and round(time.computing, 4),
    "seconds_memory": time and round(time.memory, 4),
    "seconds_sending": time and round(time.sending, 4),
    "model_flops": plan.shape.model_flops,
    "hardware_flops": plan.cost and plan.cost.total.flops * plan.target.chips,
    "audio_seconds_per_chip_second": time and round(plan.audio_seconds_per_chip_second, 2),
    "mfu": time and round(plan.mfu, 4),
    "epoch_audio_hours": epoch and epoch.audio_hours,
    "epoch_hours": epoch and round(epoch.hours, 3),
    "epoch_dollars": epoch and round(epoch.dollars, 4),
    "compiling_seconds": round(plan.compiling_seconds, 1),
  }


def json_line(plan: MemoryPlan, epoch: Epoch | None = None) -> str:
  """Returns the plan as one line of JSON."""
  return json.dumps(as_dict(plan, epoch))


def show(plan: MemoryPlan, console: Console, epoch: Epoch | None = None) -> None:
  """Prints the table."""
  target, shape, memory, chip = plan.target, plan.shape, plan.memory, plan.target.chip
  table = Table(
    title=f"{shape.model} on {target.name}: {target.chips} x {chip.name}",
    box=None,
    show_header=False,
  )
  table.add_column()
  table.add_column(justify="right")
  table.add_column()
  cut = f", {shape.accumulation} micro-batches" if shape.accumulation > 1 else ""
  windows = f"{shape.windows_per_row} windows of {shape.window_seconds:g} s"
  size = f"{shape.tokens_per_row} tokens, {windows}{cut}"
  table.add_row("rows a chip", f"{shape.micro_rows_per_chip:g}", f"{size}; remat {shape.remat}")
  if shape.sharding:
    divided = ", ".join(f"{axis} {chips}" for axis, chips in shape.sharding.items())
    table.add_row("sharding", divided, "chips")
  how = "compiled for it" if target.compiled else "by estimate"
  table.add_row("memory a chip", f"{memory.used / GIB:.2f} GiB", f"{how}; the most at once")
  table.add_row("  arguments", f"{memory.arguments / GIB:.2f} GiB", "weights, optimizer, batch")
  table.add_row("  temporaries", f"{memory.temporaries / GIB:.2f} GiB", "")
  table.add_row("  free", f"{memory.free / GIB:.2f} GiB", f"of {memory.available / GIB:.2f} usable")
  if plan.time is not None and plan.cost is not None:
    time, reached = plan.time, efficiency(chip)
    total = plan.cost.total
    table.add_row("model FLOPs", f"{shape.model_flops:.3g}", "a step, all chips")
    table.add_row("hardware FLOPs", f"{total.flops * target.chips:.3g}", "recomputation included")
    error = f"±{reached.error:.0%}, {reached.basis}"
    if time.bound != "computing":  # no published run was limited like that
      error = f"limited by {time.bound}; ±{reached.error:.0%} holds where computing limits"
    table.add_row("step, estimated", f"{time.seconds:.3g} s", error)
    table.add_row("  computing", f"{time.computing:.3g} s", f"at {reached.share:.0%} of the peak")
    table.add_row("  memory", f"{time.memory:.3g} s", f"{total.hbm_bytes / 1e9:.0f} GB a chip")
    table.add_row("  sending", f"{time.sending:.3g} s", f"{total.sent_bytes / 1e9:.1f} GB a chip")
    speed = f"{plan.audio_seconds_per_chip_second:.1f}"
    table.add_row("audio seconds", speed, "trained a second and chip")
    table.add_row(
      "model FLOP utilisation", f"{plan.mfu:.1%}", f"of {chip.flops / 1e12:.0f} TFLOP/s"
    )
  if epoch is not None:
    price = chip.price
    table.add_row(f"{epoch.audio_hours:g} h of audio", f"{epoch.hours:.2f} h", "one epoch")
    rate = f"{price.dollars_per_hour:.2f} a chip-hour: {price.source}, {price.date}"
    table.add_row("", f"${epoch.dollars:.2f}", rate)
  console.print(table)
  if not memory.fits:
    console.print("It does not fit: fewer rows, more chips, LoRA or bfloat16 weights.")
