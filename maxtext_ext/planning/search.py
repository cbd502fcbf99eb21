"""Search for the most rows on a chip that fit, then the least recomputation that still does."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from maxtext_ext.planning.compiler import Compiler
from maxtext_ext.planning.memory import GIB, DoesNotFit, Memory

# MaxText's remat policies by what they compute again, the least first.
POLICIES = ("minimal", "save_dot_except_mlp", "save_qkv_proj", "full")
MOST_ROWS = 1024


@dataclass(frozen=True, kw_only=True)
class Fit:
  """Rows and recomputation that fit."""

  rows_per_chip: int
  remat: str
  memory: Memory

  @property
  def overrides(self) -> list[str]:
    """The keys of this setting."""
    return [f"per_device_batch_size={self.rows_per_chip}", f"remat_policy={self.remat}"]


def largest(
  measure: Callable[[int], Memory], start: int, known: Mapping[int, Memory] = MappingProxyType({})
) -> tuple[int, Memory] | None:
  """Finds the most rows whose memory fits, and that memory; None where one row does not.

  Memory grows almost linearly with rows, so a line through two measurements guesses well; only what
  was measured is returned.

  Args:
    measure: memory of so many rows.
    start: the rows to try first.
    known: what was measured before.
  """
  measured = dict(known)
  rows = start
  while True:
    if rows not in measured:
      measured[rows] = measure(rows)
    most = max((n for n, memory in measured.items() if memory.fits), default=0)
    too_many = min((n for n, memory in measured.items() if not memory.fits), default=MOST_ROWS + 1)
    if most + 1 >= too_many:
      return (most, measured[most]) if most else None
    rows = min(max(_guess(measured, too_many), most + 1), too_many - 1)


def _guess(measured: dict[int, Memory], too_many: int) -> int:
  """Guesses the rows to try next: where a line through two measurements meets the limit.

  A refusal tells how much was wanted, but not as exactly as a fit, so lines prefer fits.
  """
  nearest = sorted(measured, key=lambda n: (not measured[n].fits, abs(n - too_many)))[:2]
  if len(nearest) == 1:
    return 2 * nearest[0] if measured[nearest[0]].fits else too_many // 2
  low, high = sorted(nearest)
  slope = (measured[high].used - measured[low].used) / (high - low)
  if slope <= 0:
    return (low + too_many) // 2
  return low + int(measured[low].free / slope)


def search(
  compiler: Compiler,
  path: str,
  overrides: Sequence[str],
  *,
  known: Mapping[int, Memory] = MappingProxyType({}),
  effort: str = "O0",
  say: Callable[[str], None] = lambda _: None,
) -> Fit:
  """Searches rows with everything recomputed, then less recomputation with as many rows.

  Args:
    known: memory by rows, everything recomputed, that was measured before.

  Raises:
    DoesNotFit: not even one row fits.
  """

  def measure(rows: int, remat: str) -> Memory:
    keys = [f"per_device_batch_size={rows}", f"remat_policy={remat}"]
    memory = compiler.compile(path, [*overrides, *keys], effort=effort).memory
    used = f"{memory.used / GIB:.1f} of {memory.available / GIB:.2f} GiB"
    say(f"{rows} rows a chip, remat {remat}: {used}{'' if memory.fits else ', too much'}")
    return memory

  start = max(1, int(compiler.describe(path, overrides).micro_rows_per_chip))
  result = largest(lambda rows: measure(rows, POLICIES[-1]), start, known)
  if result is None:
    raise DoesNotFit(
      f"not one row of this configuration fits a chip of {compiler.target.name}: take a larger"
      " slice, lora_rank, weight_dtype=bfloat16 or a shorter max_target_length"
    )
  rows, memory = result
  for remat in POLICIES[:-1]:
    cheaper = measure(rows, remat)
    if cheaper.fits:
      return Fit(rows_per_chip=rows, remat=remat, memory=cheaper)
  return Fit(rows_per_chip=rows, remat=POLICIES[-1], memory=memory)
