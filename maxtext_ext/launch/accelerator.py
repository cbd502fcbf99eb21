"""Accelerators of a job by their names: a TPU slice such as v4-32, or GPUs such as H100:8."""

import re
from dataclasses import dataclass

from maxtext_ext.planning.topology import GENERATIONS, Slice, parse_topology

_TPU = re.compile(r"(?:tpu-)?(?P<generation>v\d+\w*)-(?P<size>\d+)", re.IGNORECASE)
_GPU = re.compile(r"(?P<name>[A-Za-z][\w-]*)(?::(?P<count>\d+))?")
# Google's name of a generation where it is not ours.
_GOOGLE = {"v5e": "v5litepod"}
_OURS = {theirs: ours for ours, theirs in _GOOGLE.items()}


@dataclass(frozen=True, kw_only=True)
class Tpu:
  """TPU slice.

  Attributes:
    generation: Google's name of it: v4, v5litepod.
    size: the number in the slice's name.
  """

  generation: str
  size: int
  slice: Slice

  @property
  def name(self) -> str:
    """Google's name of the slice: v4-32."""
    return f"{self.generation}-{self.size}"

  @property
  def topology(self) -> str:
    """Chips along each axis: 2x2x4."""
    return "x".join(map(str, self.slice.shape))

  @property
  def hosts(self) -> int:
    """Number of hosts; up to 8 chips of v5e and v6e share one."""
    return self.slice.chips // self.chips_per_host

  @property
  def chips_per_host(self) -> int:
    """Chips per host."""
    flat = len(self.slice.shape) == 2
    most = 8 if flat and self.slice.chips <= 8 else 4
    return min(most, self.slice.chips)


@dataclass(frozen=True, kw_only=True)
class Gpu:
  """GPUs of one machine."""

  name: str
  count: int


def parse_accelerator(text: str) -> Tpu | Gpu:
  """Parses the name of an accelerator: v4-32, tpu-v4-32, v5litepod-16, H100:8, A100-80GB.

  Raises:
    ValueError: no accelerator has that name.
  """
  if match := _TPU.fullmatch(text):
    ours = _OURS.get(match["generation"].lower(), match["generation"].lower())
    size = int(match["size"])
    if ours not in GENERATIONS:
      raise ValueError(
        f"--accelerator {text!r}: expected one of {', '.join(GENERATIONS)}, as v4-32"
      )
    if size not in (sizes := GENERATIONS[ours][1]):
      there = ", ".join(f"{ours}-{known}" for known in sizes)
      raise ValueError(f"--accelerator {text!r}: expected one of {there}")
    found = parse_topology(f"{ours}-{size}")
    return Tpu(generation=_GOOGLE.get(ours, ours), size=size, slice=found)
  match = _GPU.fullmatch(text)
  tpu = {"tpu", *GENERATIONS, *_OURS}  # without a size, which is no GPU
  if not match or int(match["count"] or 1) < 1 or match["name"].lower() in tpu:
    raise ValueError(f"--accelerator {text!r}: expected a TPU slice such as v4-32, or H100:8")
  return Gpu(name=match["name"], count=int(match["count"] or 1))


def parse_tpu(text: str, engine: str) -> Tpu:
  """Parses the name of a TPU slice, for an engine that we use for TPUs only."""
  match parse_accelerator(text):
    case Tpu() as tpu:
      return tpu
  raise ValueError(
    f"--accelerator {text}: `launch {engine}` is for TPU slices such as v4-32; use `launch sky` or"
    " `launch hf` for GPUs"
  )
