"""Making of a plan (`maxtext-ext plan`): compile, count, estimate."""

from collections.abc import Callable, Sequence

from maxtext_ext.planning import cost as costs
from maxtext_ext.planning.calibration import efficiency
from maxtext_ext.planning.compiler import Compiler, Shape
from maxtext_ext.planning.cost import StepCost
from maxtext_ext.planning.estimate import MemoryPlan
from maxtext_ext.planning.memory import Memory
from maxtext_ext.planning.roofline import step_time

Say = Callable[[str], None]
COUNTED = (costs.BASE, costs.MORE_DECODER, costs.MORE_ENCODER)
# The most rows of a step whose cost is counted; without loops it needs more memory than the real
# one.
COUNTED_ROWS = 8


def make_plan(
  compiler: Compiler,
  path: str,
  overrides: Sequence[str],
  *,
  memory: Memory | None = None,
  effort: str = "O0",
  say: Say = lambda _: None,
) -> MemoryPlan:
  """Plans a configuration on the compiler's slice.

  Args:
    memory: of the step, when it has been compiled already.
    effort: the compiler's for the step itself, O0 to O3.
    say: told what is going on.

  Raises:
    ValueError: for a configuration that cannot be used there.
  """
  shape = compiler.describe(path, overrides)
  seconds = 0.0
  if memory is None:
    say(f"compiling the step for {compiler.target.name}")
    compiled = compiler.compile(path, overrides, effort=effort)
    memory, seconds = compiled.memory, compiled.seconds
  if not memory.fits:
    return MemoryPlan(
      target=compiler.target,
      shape=shape,
      memory=memory,
      cost=None,
      time=None,
      compiling_seconds=seconds,
    )
  cost, more = step_cost(compiler, path, overrides, shape, say)
  return MemoryPlan(
    target=compiler.target,
    shape=shape,
    memory=memory,
    cost=cost,
    time=step_time(cost, compiler.target.chip, efficiency(compiler.target.chip).share),
    compiling_seconds=seconds + more,
  )


def step_cost(
  compiler: Compiler,
  path: str,
  overrides: Sequence[str],
  shape: Shape,
  say: Say = lambda _: None,
  *,
  counted: Sequence[tuple[int, int]] = COUNTED,
) -> tuple[StepCost, float]:
  """Returns the cost of all micro-batches of a step, and the seconds that compiling took.

  A step of more rows than COUNTED_ROWS, or than fit, is extrapolated from one of half the rows to
  one of all that are counted.

  Args:
    counted: layers of the small steps; without that of MORE_ENCODER an encoder's layers cost
      nothing.

  Raises:
    ValueError: not even one row of a small step fits.
  """
  without = [
    *([costs.MORE_ENCODER] if not shape.encoder_layers else []),
    *([costs.MORE_DECODER] if not shape.decoder_layers else []),
  ]
  counted = [layers for layers in counted if layers not in without]
  wanted = shape.micro_rows_per_chip
  rows = min(wanted, COUNTED_ROWS)
  cost, seconds = _count(compiler, path, overrides, shape, counted, rows, say)
  while cost is None:
    if rows <= 1:
      raise ValueError(
        f"a step of two layers that are not looped over does not fit a chip of"
        f" {compiler.target.name} even with one row: lower max_target_length"
      )
    rows = (int(rows) + 1) // 2
    cost, more = _count(compiler, path, overrides, shape, counted, rows, say)
    seconds += more
  if 1 < rows < wanted:
    fewer = rows // 2
    of_fewer, more = _count(compiler, path, overrides, shape, counted, fewer, say)
    seconds += more
    assert of_fewer is not None, "fewer rows need less memory"
    cost = cost.of_more_rows(of_fewer, (wanted - rows) / (rows - fewer))
  elif rows < wanted:
    cost = cost.times(wanted)  # there are no fewer rows to compare with
  return cost.times(shape.accumulation), seconds


def _count(
  compiler: Compiler,
  path: str,
  overrides: Sequence[str],
  shape: Shape,
  counted: Sequence[tuple[int, int]],
  rows: int | float,
  say: Say,
) -> tuple[StepCost | None, float]:
  """Counts the cost of so many rows (None: a small step does not fit), and times compiling."""
  measured, seconds = {}, 0.0
  for decoder, encoder in counted:
    say(f"counting a step of {rows:g} rows, {decoder} decoder and {encoder} encoder layers")
    small = costs.small_overrides(decoder, vocab_tiles=shape.vocab_tiles)
    if shape.encoder_layers:
      small += shape.encoder_overrides[encoder - 1]
    keys = [*overrides, f"per_device_batch_size={rows:g}", *small]
    compiled = compiler.compile(path, keys, with_cost=True)
    seconds += compiled.seconds
    if compiled.cost is None:
      return None, seconds
    measured[decoder, encoder] = compiled.cost
  base = measured[costs.BASE]
  cost = costs.whole_step(
    base,
    measured.get(costs.MORE_DECODER, base),
    measured.get(costs.MORE_ENCODER, base),
    decoder_layers=shape.decoder_layers,
    encoder_layers=shape.encoder_layers,
  )
  return cost, seconds
