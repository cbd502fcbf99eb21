"""`maxtext-ext plan`: compile, count, estimate; and look for the largest rows that fit."""

from collections.abc import Callable, Sequence

from maxtext_ext.planning import cost as costs
from maxtext_ext.planning.calibration import efficiency
from maxtext_ext.planning.compiler import Compiler, Shape
from maxtext_ext.planning.cost import Cost, StepCost
from maxtext_ext.planning.estimate import Plan
from maxtext_ext.planning.memory import Memory
from maxtext_ext.planning.roofline import step_time

Say = Callable[[str], None]
COUNTED = (costs.BASE, costs.MORE_DECODER, costs.MORE_ENCODER)
# Rows of a step whose cost is counted; without loops it needs more memory than the real one.
COUNTED_ROWS = 8


def make_plan(
  compiler: Compiler,
  path: str,
  overrides: Sequence[str],
  *,
  memory: Memory | None = None,
  cost: StepCost | None = None,
  effort: str = "O0",
  say: Say = lambda _: None,
) -> Plan:
  """What a configuration needs on the compiler's slice.

  Args:
    memory: of the step, when it has been compiled already.
    cost: of the step, when it has been counted already.
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
    return Plan(
      target=compiler.target,
      shape=shape,
      memory=memory,
      cost=None,
      time=None,
      compiling_seconds=seconds,
    )
  if cost is None:
    cost, more = step_cost(compiler, path, overrides, shape, say)
    seconds += more
  return Plan(
    target=compiler.target,
    shape=shape,
    memory=memory,
    cost=cost,
    time=step_time(cost, compiler.target.chip, efficiency(compiler.target.chip).share),
    compiling_seconds=seconds,
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
  """The cost of all micro-batches of a step, and the seconds that compiling took.

  Args:
    counted: layers of the small steps; without that of MORE_ENCODER an encoder's layers cost
      nothing.

  Raises:
    ValueError: not even one row of a small step fits.
  """
  rows, seconds = max(1, min(int(shape.micro_rows_per_chip), COUNTED_ROWS)), 0.0
  while rows:
    keys = [*overrides, f"per_device_batch_size={rows}"]
    measured, more = _count(compiler, path, keys, shape, counted, say)
    seconds += more
    if len(measured) == len(counted):
      times = shape.micro_rows_per_chip / rows
      base, more_decoder, *more_encoder = (cost.of_rows(times) for cost in measured)
      cost = costs.whole_step(
        base,
        more_decoder,
        *(more_encoder or [base]),
        decoder_layers=shape.decoder_layers,
        encoder_layers=shape.encoder_layers,
      )
      return cost.times(shape.accumulation), seconds
    rows //= 2
  raise ValueError(
    f"a step of two layers that are not looped over does not fit a chip of {compiler.target.name}"
    " even with one row: lower max_target_length"
  )


def _count(
  compiler: Compiler,
  path: str,
  overrides: Sequence[str],
  shape: Shape,
  counted: Sequence[tuple[int, int]],
  say: Say,
) -> tuple[list[Cost], float]:
  """Costs of the small steps, up to one that does not fit; and the seconds of compiling."""
  measured, seconds = [], 0.0
  for layers in counted:
    say(f"counting a step of {layers[0]} decoder and {layers[1]} encoder layers")
    small = [*overrides, *costs.small_overrides(layers, vocab_tiles=shape.vocab_tiles)]
    compiled = compiler.compile(path, small, with_cost=True)
    seconds += compiled.seconds
    if compiled.cost is None:
      break
    measured.append(compiled.cost)
  return measured, seconds
