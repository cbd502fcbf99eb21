"""Pictures of a report: error rates while training, reliability, risk and coverage."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Self

from maxtext_ext.evaluate.calibration import Calibration
from maxtext_ext.files.jsonl import read_metrics
from maxtext_ext.pages.chart import HALF, Curve, Frame, Tick, curve, ticks

_TOP = 1.04  # of an axis over its largest value


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingCurves:
  """Metrics of a training run, (step, value) by rising step; rates are fractions."""

  loss: Sequence[tuple[int, float]] = ()
  wer: Sequence[tuple[int, float]] = ()
  cer: Sequence[tuple[int, float]] = ()

  @classmethod
  def read(cls, path: str | os.PathLike[str]) -> Self:
    """Reads them from a run's metrics.jsonl. Raises ValueError where it is missing or malformed."""
    return cls(
      loss=read_metrics(path),
      wer=read_metrics(path, "eval_wer"),
      cer=read_metrics(path, "eval_cer"),
    )

  def rates(self) -> list[tuple[str, Curve]]:
    """Returns names and lines of the error rates in percent, on one scale."""
    percent = {
      name: [(step, 100 * rate) for step, rate in points]
      for name, points in (("WER", self.wer), ("CER", self.cer))
    }
    top = max((rate for points in percent.values() for _, rate in points), default=0.0)
    drawn = {name: curve(points, top=top) for name, points in percent.items()}
    return [(name, line) for name, line in drawn.items() if line is not None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plot:
  """Line over shares from 0 to 1.

  Attributes:
    path: the `d` attribute of the line.
    dots: its points, for those that are few.
    ideal: the `d` of the diagonal, "" where there is none to compare with.
  """

  path: str
  dots: Sequence[tuple[float, float]]
  ideal: str
  x_ticks: Sequence[Tick]
  y_ticks: Sequence[Tick]
  frame: Frame = HALF


def plot_reliability(calibration: Calibration) -> Plot:
  """Draws the share of right words over the confidence; the diagonal is perfect."""
  points = [(item.confidence, item.accuracy) for item in calibration.bins]
  return _plot(points, top=1.0, dots=True)


def plot_risk(calibration: Calibration) -> Plot:
  """Draws the share of wrong words over the share of words that are kept."""
  return _plot(calibration.risk, top=max(risk for _, risk in calibration.risk) or 1.0)


def _plot(points: Sequence[tuple[float, float]], *, top: float, dots: bool = False) -> Plot:
  scale = _TOP * top
  places = [(HALF.x(x), HALF.y(y / scale)) for x, y in points]
  marks = ticks(0.0, scale, 5)
  digits = 0 if marks[1] - marks[0] >= 0.0099 else 1
  return Plot(
    path="M" + "L".join(f"{x},{y}" for x, y in places),
    dots=places if dots else (),
    ideal=f"M{HALF.x(0.0)},{HALF.y(0.0)}L{HALF.x(1.0)},{HALF.y(1 / scale)}" if dots else "",
    x_ticks=[Tick(position=HALF.x(mark / 5), label=f"{20 * mark}%") for mark in range(6)],
    y_ticks=[Tick(position=HALF.y(y / scale), label=f"{100 * y:.{digits}f}%") for y in marks],
  )
