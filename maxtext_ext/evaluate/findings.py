"""Findings of an evaluation beside its scores, which a report shows where they are known."""

import dataclasses
from collections.abc import Sequence

from maxtext_ext.evaluate.boards.protocol import Board
from maxtext_ext.evaluate.calibration import Calibration, calibrate
from maxtext_ext.evaluate.compare import Comparison
from maxtext_ext.evaluate.quality import Quality, assess
from maxtext_ext.evaluate.speed import Speed, measure
from maxtext_ext.evaluate.system import System


@dataclasses.dataclass(frozen=True, kw_only=True)
class Findings:
  """Findings of an evaluation.

  Attributes:
    protocol: name of the board's protocol, "" for our own way of scoring.
    board: its figures.
    comparisons: with other systems.
    speed: of the server that wrote the hypotheses; None where it was none.
  """

  quality: Quality
  calibration: Calibration | None = None
  protocol: str = ""
  board: Board | None = None
  comparisons: Sequence[Comparison] = ()
  speed: Speed | None = None


def find(
  system: System, *, protocol: str | None = None, comparisons: Sequence[Comparison] = ()
) -> Findings:
  """Assesses a system. Raises ValueError for confidences that are no probabilities."""
  texts = system.scores.texts
  return Findings(
    quality=assess(system.hypotheses, texts),
    calibration=calibrate(system.hypotheses, texts, system.normalizers),
    protocol=protocol or "",
    board=system.board,
    comparisons=comparisons,
    speed=measure(system.hypotheses),
  )
