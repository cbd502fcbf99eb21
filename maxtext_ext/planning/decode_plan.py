"""Making of a plan for decoding: divisions of the slice, slots that fit, costs, speed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from maxtext_ext.planning import cost as layers
from maxtext_ext.planning.clip_mix import ClipMix
from maxtext_ext.planning.compiler import Compiler
from maxtext_ext.planning.decode_estimate import (
  CountedCosts,
  DecodeMemoryPlan,
  DecodePlan,
  estimate,
  guess_of_slots,
)
from maxtext_ext.planning.decode_shape import DecodeCosts, DecodeMemory, DecodeShape
from maxtext_ext.planning.memory import GIB, DoesNotFit, Memory
from maxtext_ext.planning.search import largest
from maxtext_ext.planning.topology import Slice

Say = Callable[[str], None]
UNIT = 16  # slots; the search goes by so many
AXES = ("data", "fsdp", "expert", "tensor")


@dataclass(frozen=True, kw_only=True)
class Division:
  """A division of a slice, and the estimate for as many slots as about fit."""

  keys: list[str]
  plan: DecodePlan


def make_plan(
  compiler: Compiler,
  path: str,
  overrides: Sequence[str],
  *,
  seconds: float,
  fit_slots: bool,
  effort: str = "O0",
  say: Say = lambda _: None,
) -> DecodeMemoryPlan:
  """Plans decoding on the compiler's slice; a `DecodePlan` where it fits.

  Args:
    seconds: median length of the clips.
    fit_slots: find the most slots that fit; else those of `decode_rows`.
    effort: the compiler's for the programs themselves, O0 to O3.
    say: told what is going on.

  Raises:
    ValueError: for a configuration that cannot be used there.
    DoesNotFit: not even UNIT slots fit, or the programs that are counted do not.
  """
  shape = compiler.describe_decode(path, overrides)
  how = "compiling" if compiler.target.compiled else "estimating memory of"
  say(f"{how} prefill and window for {compiler.target.name}")
  if fit_slots:
    shape, memory = _most_slots(compiler, path, overrides, shape, effort, say)
  else:
    memory = _memory(compiler, path, overrides, shape, effort)
  mix = mix_of(shape, seconds)
  if not memory.total.fits:
    return DecodeMemoryPlan(target=compiler.target, shape=shape, mix=mix, memory=memory)
  costs = _costs(compiler, path, overrides, shape, say)
  return estimate(compiler.target, shape, mix, memory, costs)


def compare_divisions(
  compiler: Compiler,
  path: str,
  overrides: Sequence[str],
  *,
  seconds: float,
  say: Say = lambda _: None,
) -> list[Division]:
  """Estimates the divisions of a slice into which the weights fit, the fastest first.

  The weights are whole on each chip, or divided among the fewest chips that hold them, by tensor,
  by expert or by fsdp; other chips decode other clips. Each has as many slots as there is about
  room for; their programs are compiled with few layers only.

  Raises:
    DoesNotFit: the weights fit into no division.
  """
  found = []
  for keys in divisions(compiler, path, overrides):
    shape = compiler.describe_decode(path, [*overrides, *keys])
    slots = guess_of_slots(shape) // UNIT * UNIT
    shape = replace(shape, slots=max(UNIT, slots))
    memory = DecodeMemory(  # for this it is not compiled
      weights=shape.weights_bytes,
      cache=shape.slots * shape.place_bytes * shape.longest_places,
      ready=0.0,
      total=Memory(arguments=0.0, temporaries=0.0, available=shape.available),
      compiling_seconds=0.0,
    )
    costs = _costs(compiler, path, [*overrides, *keys], shape, say)
    plan = estimate(compiler.target, shape, mix_of(shape, seconds), memory, costs)
    say(f"{' '.join(keys)}: about {plan.rtfx:.0f} times real time")
    found.append(Division(keys=keys, plan=plan))
  return sorted(found, key=lambda division: -division.plan.rtfx)


def divisions(compiler: Compiler, path: str, overrides: Sequence[str]) -> list[list[str]]:
  """Lists the keys of divisions of the slice among the fewest chips that hold the weights.

  Raises:
    DoesNotFit: all chips together do not hold them.
  """
  chips, parts = compiler.target.chips, 1
  while parts <= chips:
    by_fsdp = _keys(data=chips // parts, fsdp=parts)
    shape = compiler.describe_decode(path, [*overrides, *by_fsdp])
    if guess_of_slots(shape) < UNIT:
      parts *= 2
      continue
    ways = [by_fsdp]
    if parts > 1 and shape.kv_heads % parts == 0:
      ways.append(_keys(data=chips // parts, tensor=parts))
    if parts > 1 and shape.experts > 1 and shape.experts % parts == 0:
      ways.append(_keys(data=chips // parts, expert=parts))
    return ways
  divided = ", divided among all its chips" if chips > 1 else ""
  raise DoesNotFit(
    f"the weights do not fit {compiler.target.name}{divided}:"
    f" {remedy(compiler.target, shape, divide=False)}"
  )


def remedy(target: Slice, shape: DecodeShape, *, divide: bool = True) -> str:
  """Advises what makes a model fit.

  Args:
    divide: the weights can be divided among more chips of the slice.
  """
  ways = [] if shape.weight_dtype == "bfloat16" else ["give weight_dtype=bfloat16"]
  if divide and target.chips > 1:
    ways.append("divide the weights among more chips (--search)")
  else:
    ways.append("take a larger slice" if target.compiled else "take a GPU with more memory")
  return ", or ".join(ways)


def mix_of(shape: DecodeShape, seconds: float) -> ClipMix:
  """Returns the clips that a plan assumes."""
  return ClipMix(
    median=seconds,
    tokens_per_chunk=shape.tokens_per_chunk,
    chunk_seconds=shape.chunk_seconds,
    chunks_per_window=shape.chunks_per_window,
  )


def _keys(**chips: int) -> list[str]:
  return [f"ici_{axis}_parallelism={chips.get(axis, 1)}" for axis in AXES]


def _memory(
  compiler: Compiler, path: str, overrides: Sequence[str], shape: DecodeShape, effort: str
) -> DecodeMemory:
  return compiler.decode_memory(
    path, overrides, slots=shape.slots, places=shape.longest_places, effort=effort
  )


def _most_slots(
  compiler: Compiler,
  path: str,
  overrides: Sequence[str],
  shape: DecodeShape,
  effort: str,
  say: Say,
) -> tuple[DecodeShape, DecodeMemory]:
  measured: dict[int, DecodeMemory] = {}

  def measure(units: int) -> Memory:
    asked = replace(shape, slots=units * UNIT)
    measured[units] = memory = _memory(compiler, path, overrides, asked, effort)
    total = memory.total
    used = f"{total.used / GIB:.1f} of {total.available / GIB:.2f} GiB"
    say(f"{asked.slots} slots a lane: {used}{'' if total.fits else ', too much'}")
    return total

  # The line that the search follows begins at the weights.
  empty = Memory(arguments=shape.weights_bytes, temporaries=0.0, available=shape.available)
  result = largest(measure, max(1, guess_of_slots(shape) // UNIT), {0: empty})
  if result is None:
    raise DoesNotFit(
      f"not even {UNIT} slots of this configuration fit a chip of {compiler.target.name}:"
      f" {remedy(compiler.target, shape)}"
    )
  units, _ = result
  return replace(shape, slots=units * UNIT), measured[units]


def _costs(
  compiler: Compiler, path: str, overrides: Sequence[str], shape: DecodeShape, say: Say
) -> CountedCosts:
  def count(decoder: int, encoder: int) -> DecodeCosts:
    say(f"counting {decoder} decoder and {encoder} encoder layers")
    keys = [f"base_num_decoder_layers={decoder}", "scan_layers=false"]
    if shape.encoder_layers:
      keys += shape.encoder_overrides[encoder - 1]
    return compiler.decode_costs(path, [*overrides, *keys], slots=shape.slots)

  base, more_decoder = count(*layers.BASE), count(*layers.MORE_DECODER)
  more_encoder = count(*layers.MORE_ENCODER) if shape.encoder_layers else base
  return CountedCosts(base=base, more_decoder=more_decoder, more_encoder=more_encoder)
