"""Chips and slices: published peaks, prices, and the compiler's names for slices.

Peaks and memory are those of Google's pages on each generation (docs.cloud.google.com/tpu/docs/v4,
v5e, v5p, v6e) and of NVIDIA's data sheet of the H100 SXM. Bandwidths of the interconnect are one
way, summed over the links of a chip: half of what the pages call bidirectional.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Price:
  """Price of one chip on demand."""

  dollars_per_hour: float
  source: str
  date: str  # when it was read


@dataclass(frozen=True, kw_only=True)
class Chip:
  """One chip's published peaks.

  Attributes:
    flops: dense bfloat16 FLOP/s.
    hbm_bytes: of memory, as sold; the compiler keeps some of it for itself.
    hbm_bandwidth: bytes/s.
    link_bandwidth: bytes/s that a chip can send, all its links together.
    cores: that the name of a slice counts for each chip.
    compiler_name: of the generation, for libtpu.
    megacore: whether both cores of the chip are one device.
  """

  name: str
  flops: float
  hbm_bytes: int
  hbm_bandwidth: float
  link_bandwidth: float
  price: Price
  cores: int = 1
  compiler_name: str = ""
  megacore: bool = False


@dataclass(frozen=True, kw_only=True)
class Slice:
  """Chips that are connected, `shape` of them along each axis."""

  name: str
  chip: Chip
  shape: tuple[int, ...]

  @property
  def chips(self) -> int:
    """Number of chips."""
    return math.prod(self.shape)

  @property
  def compiled(self) -> bool:
    """Returns whether the compiler here can compile for it; else its memory is estimated."""
    return bool(self.chip.compiler_name)

  @property
  def compiler_topology(self) -> str:
    """libtpu's name of the slice."""
    return f"{self.chip.compiler_name}:{'x'.join(map(str, self.shape))}"

  @property
  def chips_per_host(self) -> tuple[int, ...]:
    """The block of chips that one host drives, in the three axes that libtpu asks for."""
    return (*(min(2, n) for n in self.shape[:2]), 1)

  @property
  def wrap(self) -> tuple[bool, ...]:
    """Returns which axes are rings: full cubes of a 3D torus, full sides of a 2D one."""
    if len(self.shape) == 3:
      return (all(n % 4 == 0 for n in self.shape),) * 3
    return (*(n == 16 for n in self.shape), False)


_TPU_PRICES = {
  "source": "cloud.google.com/tpu/pricing, on demand, US regions",
  "date": "2026-11-21",
}

V4 = Chip(
  name="TPU v4",
  flops=275e12,
  hbm_bytes=32 * 2**30,
  hbm_bandwidth=1.2e12,
  link_bandwidth=6 * 45e9,
  price=Price(dollars_per_hour=3.22, **_TPU_PRICES),
  cores=2,
  compiler_name="v4",
  megacore=True,
)
V5E = Chip(
  name="TPU v5e",
  flops=197e12,
  hbm_bytes=16 * 2**30,
  hbm_bandwidth=819e9,
  link_bandwidth=200e9,
  price=Price(dollars_per_hour=1.20, **_TPU_PRICES),
  compiler_name="v5e",
)
V5P = Chip(
  name="TPU v5p",
  flops=459e12,
  hbm_bytes=95 * 2**30,
  hbm_bandwidth=2765e9,
  link_bandwidth=600e9,
  price=Price(dollars_per_hour=4.20, **_TPU_PRICES),
  cores=2,
  compiler_name="v5",
  megacore=True,
)
V6E = Chip(
  name="TPU v6e",
  flops=918e12,
  hbm_bytes=32 * 2**30,
  hbm_bandwidth=1638e9,
  link_bandwidth=400e9,
  price=Price(dollars_per_hour=2.70, **_TPU_PRICES),
  compiler_name="v6e",
)
H100 = Chip(
  name="H100 SXM",
  flops=989e12,
  hbm_bytes=80 * 10**9,
  hbm_bandwidth=3350e9,
  link_bandwidth=450e9,
  price=Price(dollars_per_hour=2.99, source="jarvislabs.ai, on demand", date="2026-04"),
)

_CUBES = {
  8: (2, 2, 1),
  16: (2, 2, 2),
  32: (2, 2, 4),
  64: (2, 4, 4),
  128: (4, 4, 4),
  256: (4, 4, 8),
  384: (4, 4, 12),
  512: (4, 8, 8),
}
_SQUARES = {
  1: (1, 1),
  4: (2, 2),
  8: (2, 4),
  16: (4, 4),
  32: (4, 8),
  64: (8, 8),
  128: (8, 16),
  256: (16, 16),
}
GENERATIONS: dict[str, tuple[Chip, Mapping[int, tuple[int, ...]]]] = {
  "v4": (V4, _CUBES),
  "v5p": (V5P, _CUBES),
  "v5e": (V5E, _SQUARES),
  "v6e": (V6E, _SQUARES),
}


def parse_topology(name: str) -> Slice:
  """Parses the name of a slice: v4-32 counts cores, v5e-16 chips; gpu:80GB is one GPU.

  Raises:
    ValueError: when there is none of that name.
  """
  if name.lower() == "gpu:80gb":
    return Slice(name="gpu:80GB", chip=H100, shape=(1,))
  match = re.fullmatch(r"(\w+)-(\d+)", name)
  generation = GENERATIONS.get(match[1]) if match else None
  if match is None or generation is None or int(match[2]) not in generation[1]:
    known = [f"{g}-{n}" for g, (_, sizes) in GENERATIONS.items() for n in sizes]
    raise ValueError(
      f"topology {name!r} is not known; expected one of {', '.join(known)}, gpu:80GB"
    )
  chip, shapes = generation
  return Slice(name=name, chip=chip, shape=shapes[int(match[2])])
