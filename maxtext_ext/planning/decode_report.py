"""Reports of a plan for decoding: a table for people, JSON for programs."""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from maxtext_ext.planning.calibration import efficiency
from maxtext_ext.planning.clip_mix import TEXT_RATE
from maxtext_ext.planning.decode_estimate import (
  BANDWIDTH_SHARE,
  OCCUPANCY,
  ROW_SHARE,
  DecodeMemoryPlan,
  DecodePlan,
)
from maxtext_ext.planning.decode_plan import Division, remedy
from maxtext_ext.planning.memory import GIB


def as_dict(plan: DecodeMemoryPlan, hours: float) -> dict[str, Any]:
  """Returns what `--json` prints; times are None where it does not fit."""
  memory, shape, temporaries = plan.memory, plan.shape, plan.memory.temporaries
  timed = plan if isinstance(plan, DecodePlan) else None
  return {
    "model": shape.model,
    "topology": plan.target.name,
    "chips": plan.target.chips,
    "compiled": plan.target.compiled,
    "fits": memory.total.fits,
    "sharding": shape.sharding,
    "lanes": shape.lanes,
    "decode_rows": shape.slots,
    "places": shape.longest_places,
    "weight_dtype": shape.weight_dtype,
    "hbm_gib_per_chip": round(memory.total.used / GIB, 3),
    "hbm_gib_available": round(memory.total.available / GIB, 3),
    "hbm_gib_weights": round(memory.weights / GIB, 3),
    "hbm_gib_cache": round(memory.cache / GIB, 3),
    "hbm_gib_ready": round(memory.ready / GIB, 3),
    "hbm_gib_temporaries": None if temporaries is None else round(temporaries / GIB, 3),
    "clip_seconds": round(float(plan.mix.seconds.mean()), 2),
    "seconds_prefill": timed and round(timed.prefill.seconds, 5),
    "seconds_encode": timed and round(timed.encode.seconds, 5),
    "seconds_step": timed and round(timed.step.seconds, 5),
    "seconds_close": timed and round(timed.close.seconds, 5),
    "step_bound": timed and timed.step.bound,
    "bound": timed and timed.clip.bound,
    "rtfx": timed and round(timed.rtfx, 1),
    "hours": hours,
    "dollars": timed and round(timed.dollars(hours), 4),
  }


def json_line(plan: DecodeMemoryPlan, hours: float) -> str:
  """Returns the plan as one line of JSON."""
  return json.dumps(as_dict(plan, hours))


def show_divisions(divisions: Sequence[Division], console: Console) -> None:
  """Prints the divisions of the slice that were compared."""
  table = Table(title="divisions, each with the slots that about fit", box=None)
  for name in ("chips", "lanes", "slots", "ms a step", "bound", "times real time"):
    table.add_column(name, justify="left" if name == "chips" else "right")
  for division in divisions:
    plan = division.plan
    table.add_row(
      described(plan.shape.sharding),
      str(plan.shape.lanes),
      str(plan.shape.slots),
      f"{1000 * plan.step.seconds:.1f}",
      plan.clip.bound,
      f"{plan.rtfx:.0f}",
    )
  console.print(table)
  keys = [key for key in divisions[0].keys if not key.endswith("=1") or "fsdp" in key]
  console.print(f"The fastest: {' '.join(keys)}", highlight=False)


def described(sharding: dict[str, int]) -> str:
  """Describes how many chips divide each axis."""
  return ", ".join(f"{axis} {chips}" for axis, chips in sharding.items()) or "one"


def show(plan: DecodeMemoryPlan, console: Console, hours: float) -> None:
  """Prints the table."""
  target, shape, memory, chip = plan.target, plan.shape, plan.memory, plan.target.chip
  total, temporaries, how = (
    memory.total,
    memory.temporaries,
    "compiled for it" if target.compiled else "by estimate",
  )
  title = f"{shape.model}, decoding on {target.name}: {target.chips} x {chip.name}"
  table = Table(title=title, box=None, show_header=False)
  table.add_column()
  table.add_column(justify="right")
  table.add_column()
  lanes = "1 lane" if shape.lanes == 1 else f"{shape.lanes} lanes"
  table.add_row("division", described(shape.sharding), lanes)
  room = f"each of {shape.longest_places} places: decode_rows={shape.slots}"
  table.add_row("slots a lane", str(shape.slots), room)
  table.add_row("memory a chip", f"{total.used / GIB:.2f} GiB", f"{how}; the most at once")
  table.add_row("  weights", f"{memory.weights / GIB:.2f} GiB", shape.weight_dtype)
  table.add_row("  KV cache", f"{memory.cache / GIB:.2f} GiB", "of the slots")
  table.add_row("  ready queue", f"{memory.ready / GIB:.2f} GiB", "clips that wait for a slot")
  if temporaries is None:
    table.add_row("  temporaries", "unknown", "the compiler refused it before")
  else:
    table.add_row("  temporaries", f"{temporaries / GIB:.2f} GiB", "")
  other = total.arguments - memory.weights - memory.cache - memory.ready
  if other > 0:  # not known of a program that was refused
    table.add_row("  other", f"{other / GIB:.2f} GiB", "batches, padding of arrays on the chip")
  left = "free" if total.fits else "missing"
  usable = f"{'of' if total.fits else 'beyond'} {total.available / GIB:.2f} usable"
  table.add_row(f"  {left}", f"{abs(total.free) / GIB:.2f} GiB", usable)
  table.add_row("clips", f"{plan.mix.seconds.mean():.1f} s", str(plan.mix))
  if isinstance(plan, DecodePlan):
    _add_speed(table, plan, hours)
  console.print(table)
  if not isinstance(plan, DecodePlan):
    console.print(f"It does not fit: lower decode_rows, or {remedy(target, shape)}.")
    return
  console.print(
    f"Estimated, not measured: {efficiency(chip).share:.0%} of the peak FLOP/s,"
    f" {BANDWIDTH_SHARE:.0%} of the bandwidths, {OCCUPANCY:.0%} of the slots and {ROW_SHARE:.0%} of"
    f" the rows in use, {TEXT_RATE:g} tokens of text a second, from samples in memory.",
    highlight=False,
  )


def _add_speed(table: Table, plan: DecodePlan, hours: float) -> None:
  target, shape, chip = plan.target, plan.shape, plan.target.chip

  def ms(seconds: float) -> str:
    return f"{1000 * seconds:.2f} ms"

  row = f"of {shape.row_tokens} prompt tokens; limited by {plan.prefill.bound}"
  table.add_row("prefill, estimated", ms(plan.prefill.seconds), row)
  some = f"{shape.windows_together} audio windows; limited by {plan.encode.bound}"
  table.add_row("encoder", ms(plan.encode.seconds), some)
  table.add_row("step", ms(plan.step.seconds), f"of all slots; limited by {plan.step.bound}")
  end = f"once in {shape.steps} steps; limited by {plan.close.bound}"
  table.add_row("end of a window", ms(plan.close.seconds), end)
  for name in ("computing", "memory", "sending"):
    seconds = getattr(plan.clip, name)
    table.add_row(f"  {name}", f"{seconds / plan.clip.seconds:.0%}", "of the time, were it alone")
  table.add_row("speed", f"{plan.rtfx:.0f}", "times real time, the slice; an estimate")
  table.add_row("", f"{plan.rtfx / target.chips:.0f}", "a chip")
  rate = f"{chip.price.dollars_per_hour:.2f} a chip-hour: {chip.price.source}, {chip.price.date}"
  table.add_row(f"{hours:g} h of audio", f"${plan.dollars(hours):.2f}", rate)
