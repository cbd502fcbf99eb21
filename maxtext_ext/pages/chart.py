"""Geometry of pictures: numbers in, SVG coordinates out."""

import dataclasses
import math
from collections.abc import Sequence

WIDTH, HEIGHT = 960, 300  # of a picture's view box
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 16, 44  # margins that hold the labels
_MAX_POINTS = 400  # more than the picture can tell apart


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tick:
  """A label on an axis at `position` of the view box."""

  position: float
  label: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
  """A line to draw.

  Attributes:
    path: the `d` attribute of the values themselves, thinned to bucket means when there are many.
    smooth: the same for a running mean; "" where there are too few points to need one.
    last: the last value.
    left_out: values that were NaN or infinite and can't be drawn.
  """

  path: str
  smooth: str
  x_ticks: list[Tick]
  y_ticks: list[Tick]
  last: float
  left_out: int


def ticks(low: float, high: float, count: int) -> list[float]:
  """About `count` round numbers (1, 2 or 5 times a power of ten apart) inside [low, high]."""
  assert high > low and count > 0
  rough = (high - low) / count
  power = 10.0 ** math.floor(math.log10(rough))
  step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
  first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
  return [index * step for index in range(first, last + 1)]


def curve(points: Sequence[tuple[int, float]]) -> Curve | None:
  """Lays out (step, value) points, by rising step; None when fewer than two can be drawn.

  The vertical axis starts at zero unless values are negative, so that heights can be compared.
  """
  finite = [(float(step), value) for step, value in points if math.isfinite(value)]
  if len(finite) < 2:
    return None
  shown = _thin(finite)
  low_x, high_x = finite[0][0], finite[-1][0]
  values = [value for _, value in shown]
  low_y, high_y = min(0.0, *values), max(values)
  if high_y == low_y:
    high_y = low_y + 1.0
  high_y += 0.04 * (high_y - low_y)

  def x(step: float) -> float:
    return round(LEFT + (step - low_x) / (high_x - low_x) * (WIDTH - LEFT - RIGHT), 1)

  def y(value: float) -> float:
    return round(HEIGHT - BOTTOM - (value - low_y) / (high_y - low_y) * (HEIGHT - TOP - BOTTOM), 1)

  def path(line: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x(step)},{y(value)}" for step, value in line)

  y_values = ticks(low_y, high_y, 5)
  decimals = max(0, -math.floor(math.log10(y_values[1] - y_values[0]) + 1e-9))
  steps = [step for step in ticks(low_x, high_x, 8) if step == int(step)]
  return Curve(
    path=path(shown),
    smooth=path(_smooth(shown)) if len(shown) >= 20 else "",
    x_ticks=[Tick(position=x(step), label=f"{int(step):,}") for step in steps],
    y_ticks=[Tick(position=y(value), label=f"{value:.{decimals}f}") for value in y_values],
    last=finite[-1][1],
    left_out=len(points) - len(finite),
  )


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
  """At most _MAX_POINTS: means of equal runs, with the first and last point as they are."""
  if len(points) <= _MAX_POINTS:
    return points
  inner, buckets = points[1:-1], _MAX_POINTS - 2
  thinned = []
  for bucket in range(buckets):
    run = inner[bucket * len(inner) // buckets : (bucket + 1) * len(inner) // buckets]
    steps, values = zip(*run, strict=True)
    thinned.append((sum(steps) / len(run), sum(values) / len(run)))
  return [points[0], *thinned, points[-1]]


def _smooth(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
  """A centred running mean over a twentieth of the points, narrower at the ends."""
  reach = max(1, len(points) // 40)
  smooth = []
  for index, (step, _) in enumerate(points):
    near = min(reach, index, len(points) - 1 - index)
    window = [value for _, value in points[index - near : index + near + 1]]
    smooth.append((step, sum(window) / len(window)))
  return smooth
