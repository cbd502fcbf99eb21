import pytest

from maxtext_ext.evaluate.calibration import Bin, Calibration
from maxtext_ext.evaluate.plots import TrainingCurves, plot_reliability, plot_risk
from maxtext_ext.pages.chart import HALF


def calibration(*bins: tuple[float, float], risk: tuple[tuple[float, float], ...]) -> Calibration:
  return Calibration(
    words=9,
    left_out=0,
    accuracy=0.5,
    ece=0.1,
    auroc=None,
    bins=tuple(Bin(words=1, confidence=c, accuracy=a) for c, a in bins),
    risk=risk,
  )


def points(path: str) -> list[list[float]]:
  return [[float(value) for value in point.split(",")] for point in path.strip("M").split("L")]


def test_reliability_lies_on_the_diagonal_where_confidences_are_right():
  plot = plot_reliability(calibration((0.1, 0.1), (0.9, 0.9), risk=((1.0, 0.5),)))
  (x0, y0), (x1, y1) = points(plot.ideal)
  for x, y in plot.dots:
    assert (y - y0) / (y1 - y0) == pytest.approx((x - x0) / (x1 - x0), abs=0.01)
  assert points(plot.path) == [list(dot) for dot in plot.dots]
  assert (x0, x1) == (HALF.x(0.0), HALF.x(1.0))


@pytest.mark.parametrize(("top", "label"), [(0.9, "80%"), (0.04, "4%"), (0.004, "0.4%")])
def test_the_axis_of_the_risk_ends_above_the_largest(top, label):
  plot = plot_risk(calibration((0.5, 0.5), risk=((0.5, top / 2), (1.0, top))))
  assert plot.y_ticks[-1].label == label
  (_, low), (_, high) = points(plot.path)
  assert HALF.y(1.0) < high < low < HALF.y(0.0)


def test_without_wrong_words_the_risk_is_the_axis():
  plot = plot_risk(calibration((0.5, 1.0), risk=((1.0, 0.0),)))
  assert points(plot.path) == [[HALF.x(1.0), HALF.y(0.0)]]


def test_rates_of_training_are_read_from_the_runs_metrics(tmp_path):
  metrics = tmp_path / "metrics.jsonl"
  metrics.write_text(
    '{"step": 1, "loss": 3.0, "eval_wer": 0.5}\n{"step": 2, "loss": 2.0, "eval_wer": 0.25}\n'
  )
  curves = TrainingCurves.read(metrics)
  assert (curves.loss, curves.wer, curves.cer) == ([(1, 3.0), (2, 2.0)], [(1, 0.5), (2, 0.25)], [])
  ((name, line),) = curves.rates()
  assert (name, line.last) == ("WER", 25.0)
