"""Geometry of charts: computes SVG coordinates from numbers."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

WAVE_WIDTH = 300  # of a waveform's view box
_MAX_POINTS = 400  # more than the picture can tell apart
_FEW = 20  # points of a curve that are marked
_LABELLED = 5  # points of a curve that have a label each
_BARS = 40
_THINNEST = 1.0  # of a bar that has to be seen
_LOGARITHMIC_FROM = 10  # times the median


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frame:
  """View box of a picture, and the margins that hold its labels."""

  width: int
  height: int
  left: int = 56
  right: int = 16
  top: int = 16
  bottom: int = 44

  def x(self, share: float) -> float:
    """Converts a fraction of the horizontal axis (0 left, 1 right) to a coordinate."""
    return round(self.left + share * (self.width - self.left - self.right), 1)

  def y(self, share: float) -> float:
    """Converts a fraction of the vertical axis (0 bottom, 1 top) to a coordinate."""
    return round(self.height - self.bottom - share * (self.height - self.top - self.bottom), 1)


WIDE = Frame(width=960, height=300)
HALF = Frame(width=460, height=250)  # two stand side by side


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tick:
  """Label on an axis at `position` of the view box."""

  position: float
  label: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
  """Line to draw.

  Attributes:
    path: the `d` attribute of the values themselves, thinned to bucket means when there are many.
    smooth: the same for a running mean; "" where there are too few points to need one.
    last: the last value.
    left_out: NaN or infinite values, which are not drawn.
    dots: its points, for those that are few.
  """

  path: str
  smooth: str
  x_ticks: list[Tick]
  y_ticks: list[Tick]
  last: float
  left_out: int
  dots: tuple[tuple[float, float], ...] = ()
  frame: Frame = WIDE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bar:
  """Bar of a histogram: a rectangle, and its description."""

  x: float
  y: float
  width: float
  height: float
  label: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Histogram:
  """Counts of values; bars of a logarithmic axis are equally wide in the logarithm."""

  bars: list[Bar]
  x_ticks: list[Tick]
  y_ticks: list[Tick]
  logarithmic: bool
  frame: Frame = HALF


def ticks(low: float, high: float, count: int) -> list[float]:
  """Returns about `count` round numbers in [low, high], 1, 2 or 5 times a power of ten apart."""
  assert high > low and count > 0
  rough = (high - low) / count
  power = 10.0 ** math.floor(math.log10(rough))
  step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
  first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
  return [index * step for index in range(first, last + 1)]


def curve(points: Sequence[tuple[int, float]], *, top: float = -math.inf) -> Curve | None:
  """Lays out (step, value) points, by rising step; None when fewer than two can be drawn.

  The vertical axis starts at zero unless values are negative, so that heights can be compared.

  Args:
    top: a value that the vertical axis includes, so that curves can share a picture.
  """
  finite = [(float(step), value) for step, value in points if math.isfinite(value)]
  if len(finite) < 2:
    return None
  shown = _thin(finite)
  low_x, high_x = finite[0][0], finite[-1][0]
  values = [value for _, value in shown]
  low_y, high_y = min(0.0, *values), max(top, *values)
  if high_y == low_y:
    high_y = low_y + 1.0
  high_y += 0.04 * (high_y - low_y)

  def x(step: float) -> float:
    return WIDE.x((step - low_x) / (high_x - low_x))

  def y(value: float) -> float:
    return WIDE.y((value - low_y) / (high_y - low_y))

  def path(line: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x(step)},{y(value)}" for step, value in line)

  y_values = ticks(low_y, high_y, 5)
  decimals = max(0, -math.floor(math.log10(y_values[1] - y_values[0]) + 1e-9))
  # Few points have a label each: round numbers between them would name none.
  few = [step for step, _ in finite] if len(finite) <= _LABELLED else ticks(low_x, high_x, 8)
  steps = [step for step in few if step == int(step)]
  return Curve(
    path=path(shown),
    smooth=path(_smooth(shown)) if len(shown) >= 20 else "",
    x_ticks=[Tick(position=x(step), label=f"{int(step):,}") for step in steps],
    y_ticks=[Tick(position=y(value), label=f"{value:.{decimals}f}") for value in y_values],
    last=finite[-1][1],
    left_out=len(points) - len(finite),
    dots=tuple((x(step), y(value)) for step, value in shown) if len(shown) <= _FEW else (),
  )


def histogram(values_R: np.ndarray) -> Histogram | None:
  """Lays out about 40 bars with round edges; None without values.

  The axis is logarithmic where the largest value would leave most of a linear one empty.

  Args:
    values_R: finite numbers, [R].
  """
  if not len(values_R):
    return None
  low, high = float(values_R.min()), float(values_R.max())
  logarithmic = low > 0 and high > _LOGARITHMIC_FROM * float(np.median(values_R))
  if logarithmic:
    edges = np.geomspace(low, high, _BARS + 1)
    edges[0], edges[-1] = low, high  # free of rounding: every value has its bar
  else:
    edges = _round_edges(min(low, 0.0) if low > 0 and low < high / 2 else low, high)
  counts = np.histogram(values_R, edges)[0].tolist()
  scale = (np.log(edges) if logarithmic else edges).tolist()
  top = 1.04 * max(counts)

  def x(value: float) -> float:
    return HALF.x((value - scale[0]) / (scale[-1] - scale[0]))

  def bar(i: int) -> Bar:
    foot, head = HALF.y(0.0), min(HALF.y(counts[i] / top), HALF.y(0.0) - _THINNEST)
    return Bar(
      x=x(scale[i]),
      y=head,
      width=round(max(x(scale[i + 1]) - x(scale[i]) - 1, _THINNEST), 1),  # 1 apart
      height=round(foot - head, 1),
      label=f"{edges[i]:.4g} to {edges[i + 1]:.4g}: {counts[i]:,}",
    )

  if logarithmic:
    x_ticks = [(math.log(mark), mark) for mark in _logarithmic_ticks(low, high)]
  else:
    x_ticks = [(mark, mark) for mark in ticks(scale[0], scale[-1], 6)]
  y_ticks = [mark for mark in ticks(0.0, top, 5) if mark == int(mark)]
  return Histogram(
    bars=[bar(i) for i, count in enumerate(counts) if count],
    x_ticks=[Tick(position=x(place), label=f"{mark:,.10g}") for place, mark in x_ticks],
    y_ticks=[Tick(position=HALF.y(mark / top), label=f"{int(mark):,}") for mark in y_ticks],
    logarithmic=logarithmic,
  )


def waveform(samples_T: np.ndarray) -> str:
  """Draws a clip as the `d` of a path: 0 to WAVE_WIDTH wide, -100 to 100 for full scale.

  Args:
    samples_T: [T] float with full scale at 1, T > 0.
  """
  columns = min(WAVE_WIDTH, len(samples_T))
  starts = np.arange(columns) * len(samples_T) // columns
  upper, lower = (
    np.rint(-100 * np.clip(outline, -1, 1)).astype(int)
    for outline in (np.maximum.reduceat(samples_T, starts), np.minimum.reduceat(samples_T, starts))
  )
  across = np.arange(columns) * WAVE_WIDTH // columns
  x, y = np.concatenate([across, across[::-1]]), np.concatenate([upper, lower[::-1]])
  return "M" + "L".join(f"{x},{y}" for x, y in zip(x.tolist(), y.tolist(), strict=True)) + "Z"


def _round_edges(low: float, high: float) -> np.ndarray:
  """Returns edges a round number apart from `low` to `high` or a little beyond."""
  if high - low <= 1e-4 * max(abs(low), abs(high)):
    low, high = low - 0.5, high + 0.5
  marks = ticks(low, high, _BARS)
  step = marks[1] - marks[0]
  first, last = math.floor(low / step), math.ceil(high / step)
  edges = np.arange(first, last + 1) * step
  return np.array([min(edges[0], low), *edges[1:-1], max(edges[-1], high)])


def _logarithmic_ticks(low: float, high: float) -> list[float]:
  powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
  factors = (1, 2, 5) if len(powers) <= 4 else (1,)
  marks = [factor * 10.0**power for power in powers for factor in factors]
  return [mark for mark in marks if low <= mark <= high]


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
  """Thins to at most _MAX_POINTS: means of equal runs; keeps the first and last point."""
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
  """Computes a centred running mean over a twentieth of the points, narrower at the ends."""
  reach = max(1, len(points) // 40)
  smooth = []
  for index, (step, _) in enumerate(points):
    near = min(reach, index, len(points) - 1 - index)
    window = [value for _, value in points[index - near : index + near + 1]]
    smooth.append((step, sum(window) / len(window)))
  return smooth
