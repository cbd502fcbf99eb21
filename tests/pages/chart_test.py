import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.pages import chart
from maxtext_ext.pages.chart import HALF, WAVE_WIDTH, WIDE

VALUES = st.floats(-1e6, 1e6, allow_subnormal=False)


def coordinates(path: str) -> list[tuple[float, float]]:
  return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+),(-?[\d.]+)", path)]


@pytest.mark.parametrize(
  ("low", "high", "count", "expected"),
  [
    (0, 6, 5, [0, 2, 4, 6]),
    (0, 0.93, 5, [0, 0.2, 0.4, 0.6, 0.8]),
    (0, 1000, 8, [0, 200, 400, 600, 800, 1000]),
    (17, 43, 5, [20, 30, 40]),
    (-1, 1, 4, [-1, -0.5, 0, 0.5, 1]),
  ],
)
def test_ticks(low, high, count, expected):
  assert chart.ticks(float(low), float(high), count) == pytest.approx(expected)


@given(values=st.lists(VALUES, min_size=2, max_size=50))
def test_curve_stays_inside_its_frame(values):
  curve = chart.curve(list(enumerate(values)))
  points = coordinates(curve.path)
  assert len(points) == len(values)
  assert points[0][0] == WIDE.left
  assert points[-1][0] == WIDE.width - WIDE.right
  for x, y in points + coordinates(curve.smooth):
    assert WIDE.left <= x <= WIDE.width - WIDE.right
    assert WIDE.top <= y <= WIDE.height - WIDE.bottom
  for ticks in (curve.x_ticks, curve.y_ticks):
    assert len({tick.label for tick in ticks}) == len(ticks) >= 1


def test_curve_places_values_on_its_axes():
  curve = chart.curve([(0, 4.0), (50, 2.0), (100, 0.0)])
  points = coordinates(curve.path)
  height = {tick.label: tick.position for tick in curve.y_ticks}
  across = {tick.label: tick.position for tick in curve.x_ticks}
  assert points == [
    (across["0"], height["4"]),
    (across["50"], height["2"]),  # few points have a label each
    (across["100"], height["0"]),
  ]


def test_long_run_is_thinned_but_keeps_its_ends():
  points = [(step, 5.0 if step in (0, 99_999) else 1.0) for step in range(100_000)]
  drawn = coordinates(chart.curve(points).path)
  assert len(drawn) == 400
  assert drawn[0][1] == drawn[-1][1] < drawn[1][1] == drawn[200][1]


def test_values_that_are_not_finite_are_counted():
  curve = chart.curve([(0, 3.0), (1, math.nan), (2, math.inf), (3, 1.0)])
  assert curve.left_out == 2
  assert len(coordinates(curve.path)) == 2
  assert curve.last == 1.0


@pytest.mark.parametrize("points", [[], [(0, 1.0)], [(0, math.nan), (1, math.nan), (2, 1.0)]])
def test_nothing_to_draw(points):
  assert chart.curve(points) is None


def test_constant_loss():
  curve = chart.curve([(0, 0.0), (1, 0.0)])
  assert {y for _, y in coordinates(curve.path)} == {WIDE.height - WIDE.bottom}


@given(values=st.lists(VALUES, min_size=1, max_size=60))
def test_histogram_counts_every_value_inside_its_frame(values):
  histogram = chart.histogram(np.array(values))
  assert sum(int(bar.label.rpartition(" ")[2].replace(",", "")) for bar in histogram.bars) == len(
    values
  )
  for bar in histogram.bars:
    assert HALF.left <= bar.x < bar.x + bar.width <= HALF.width - HALF.right + 1
    assert HALF.top <= bar.y
    assert bar.y + bar.height == pytest.approx(HALF.height - HALF.bottom)
    assert bar.height >= 1
  for ticks in (histogram.x_ticks, histogram.y_ticks):
    assert len({tick.label for tick in ticks}) == len(ticks)


@pytest.mark.parametrize(
  ("values", "logarithmic"),
  [([1.0, 2.0, 3.0], False), ([1.0, 2.0, 30.0], True), ([-1.0, 0.1, 30.0], False), ([5.0], False)],
)
def test_histogram_has_a_logarithmic_axis_where_a_linear_one_would_be_empty(values, logarithmic):
  assert chart.histogram(np.array(values)).logarithmic == logarithmic


def test_histogram_places_bars_on_its_axes():
  histogram = chart.histogram(np.repeat([1.0, 2.0, 4.0], [10, 20, 40]))
  assert [bar.label.split(": ")[1] for bar in histogram.bars] == ["10", "20", "40"]
  across = {tick.label: tick.position for tick in histogram.x_ticks}
  height = {tick.label: tick.position for tick in histogram.y_ticks}
  first, second, _ = histogram.bars
  assert first.x == across["1"]
  assert second.x == across["2"]
  assert second.y == height["20"]
  assert chart.histogram(np.empty(0)) is None


def test_waveform_is_the_outline_of_the_samples():
  samples = np.zeros(WAVE_WIDTH * 10)
  samples[5] = 0.5
  samples[15] = -2.0
  points = coordinates(chart.waveform(samples))
  assert len(points) == 2 * WAVE_WIDTH
  assert points[:3] == [(0, -50), (1, 0), (2, 0)]  # upwards is negative in a picture
  assert points[-2:] == [(1, 100), (0, 0)]
  assert len(coordinates(chart.waveform(np.zeros(7)))) == 14
