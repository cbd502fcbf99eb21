"""`maxtext-ext plan`: compile, count, estimate; and look for the largest rows that fit."""

from collections.abc import Callable, Sequence

from maxtext_ext.planning import cost as costs
from maxtext_ext.planning.compiler import Compiler, Shape
from maxtext_ext.planning.cost import StepCost
from maxtext_ext.planning.estimate import Plan
from maxtext_ext.planning.memory import Memory
from maxtext_ext.planning.roofline import step_time

Say = Callable[[str], None]


def make_plan(
  compiler: Compiler,
  path: str,
  overrides: Sequence[str],
  *,
  memory: Memory | None = None,
  effort: str = "O0",
  say: Say = lambda _: None,
) -> Plan:
  """What a configuration needs on the compiler's slice.

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
    return Plan(
      target=compiler.target,
      shape=shape,
      memory=memory,
      cost=None,
      time=None,
      compiling_seconds=seconds,
    )
  cost, more = _step_cost(compiler, path, overrides, shape, say)
  return Plan(
    target=compiler.target,
    shape=shape,
    memory=memory,
    cost=cost,
    time=step_time(cost, compiler.target.chip),
    compiling_seconds=seconds + more,
  )


def _step_cost(
  compiler: Compiler, path: str, overrides: Sequence[str], shape: Shape, say: Say
) -> tuple[StepCost, float]:
  """The cost of all micro-batches of a step, and the seconds that compiling took."""
  measured, seconds = [], 0.0
  for layers in (costs.BASE, costs.MORE_DECODER, costs.MORE_ENCODER):
    say(f"counting a step of {layers[0]} decoder and {layers[1]} encoder layers")
    small = [*overrides, *costs.small_overrides(layers, vocab_tiles=shape.vocab_tiles)]
    compiled = compiler.compile(path, small, with_cost=True)
    if compiled.cost is None:
      raise ValueError(
        f"a step of {layers[0]} decoder and {layers[1]} encoder layers does"
        f" not fit a chip of {compiler.target.name}; lower per_device_batch_size"
      )
    measured.append(compiled.cost)
    seconds += compiled.seconds
  cost = costs.whole_step(
    *measured, decoder_layers=shape.decoder_layers, encoder_layers=shape.encoder_layers
  )
  return cost.times(shape.accumulation), seconds
