"""`--search`: the most rows on a chip that fit, and the least recomputation that still does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from maxtext_ext.planning.compiler import Compiler
from maxtext_ext.planning.memory import GIB, Memory

# MaxText's remat policies by what they compute again, the least first.
POLICIES = ("minimal", "save_dot_except_mlp", "save_qkv_proj", "full")
MOST_ROWS = 1024


@dataclass(frozen=True, kw_only=True)
class Found:
  """What fits."""

  rows_per_chip: int
  remat: str
  memory: Memory

  @property
  def overrides(self) -> list[str]:
    """The keys that ask for it."""
    return [f"per_device_batch_size={self.rows_per_chip}", f"remat_policy={self.remat}"]


def largest(measure: Callable[[int], Memory], start: int) -> tuple[int, Memory] | None:
  """The most rows whose memory fits, and that memory; None where one row does not.

  Memory grows almost linearly with rows, so a line through two measurements guesses well; only what
  was measured is returned.

  Args:
    measure: memory of so many rows.
    start: the rows to try first.
  """
  fits: dict[int, Memory] = {}
  too_many, rows = MOST_ROWS + 1, start
  while True:
    memory = measure(rows)
    if memory.fits:
      fits[rows] = memory
    else:
      too_many = rows
    most = max(fits, default=0)
    if most + 1 >= too_many:
      return (most, fits[most]) if fits else None
    rows = min(max(_guess(fits, too_many), most + 1), too_many - 1)


def _guess(fits: dict[int, Memory], too_many: int) -> int:
  """Rows to try next, between what fits and what does not."""
  known = sorted(fits)
  if not known:
    return too_many // 2
  if len(known) == 1:
    return 2 * known[0]
  low, high = known[-2:]
  slope = (fits[high].used - fits[low].used) / (high - low)
  if slope <= 0:
    return 2 * high
  return high + int(fits[high].free / slope)


def search(
  compiler: Compiler,
  path: str,
  overrides: Sequence[str],
  *,
  effort: str = "O0",
  say: Callable[[str], None] = lambda _: None,
) -> Found:
  """Rows with everything recomputed first, then less recomputation with as many rows.

  Raises:
    ValueError: not even one row fits.
  """

  def measure(rows: int, remat: str) -> Memory:
    keys = [f"per_device_batch_size={rows}", f"remat_policy={remat}"]
    memory = compiler.compile(path, [*overrides, *keys], effort=effort).memory
    used = f"{memory.used / GIB:.1f} of {memory.available / GIB:.2f} GiB"
    say(f"{rows} rows a chip, remat {remat}: {used}{'' if memory.fits else ', too much'}")
    return memory

  start = max(1, int(compiler.describe(path, overrides).micro_rows_per_chip))
  found = largest(lambda rows: measure(rows, POLICIES[-1]), start)
  if found is None:
    raise ValueError(
      f"not one row of this configuration fits a chip of {compiler.target.name}: take a larger"
      " slice, lora_rank, weight_dtype=bfloat16 or a shorter max_target_length"
    )
  rows, memory = found
  for remat in POLICIES[:-1]:
    cheaper = measure(rows, remat)
    if cheaper.fits:
      return Found(rows_per_chip=rows, remat=remat, memory=cheaper)
  return Found(rows_per_chip=rows, remat=POLICIES[-1], memory=memory)
