"""Evaluation report: a self-contained HTML page, and the same figures as JSON and Markdown."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.audio.player import Players
from maxtext_ext.evaluate.decoded import Decoded
from maxtext_ext.evaluate.examples import Example, find_worst
from maxtext_ext.evaluate.figures import make_figures
from maxtext_ext.evaluate.findings import Findings
from maxtext_ext.evaluate.formats import (
  describe_intervals,
  format_difference,
  format_interval,
  format_number,
  format_p,
  format_rate,
  shown_groups,
)
from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.evaluate.markdown import to_markdown
from maxtext_ext.evaluate.plots import TrainingCurves, plot_reliability, plot_risk
from maxtext_ext.evaluate.quality import assess
from maxtext_ext.evaluate.rates import Score
from maxtext_ext.evaluate.report_files import report_files
from maxtext_ext.evaluate.sounds import find_sounds
from maxtext_ext.evaluate.speed import measure
from maxtext_ext.evaluate.statements import state_calibration, state_quality, state_speed
from maxtext_ext.evaluate.wer import Scores, score
from maxtext_ext.files.storage import atomic_open
from maxtext_ext.pages.chart import curve
from maxtext_ext.pages.render import render

__all__ = ["Fact", "TrainingCurves", "format_interval", "format_rate", "write_report"]

Fact = str | int | float

WORST = 20  # utterances shown with their differences
MAX_PLAYER_BYTES = 8 << 20  # of all players together, as they stand in the page
MAX_PLAYER_SECONDS = 20.0  # of a clip; the beginning of longer ones


def write_report(
  hypotheses: Sequence[Hypothesis],
  path: str | os.PathLike[str],
  *,
  title: str,
  normalizer: str = "basic",
  normalizer_reason: str = "as asked",
  source: Decoded | Sequence[Decoded] | None = None,
  curves: TrainingCurves | None = None,
  baseline: Scores | None = None,
  extra: Mapping[str, Fact] | None = None,
  scores: Scores | None = None,
  findings: Findings | None = None,
  audio: str | os.PathLike[str] | None = None,
) -> Scores:
  """Writes the page to `path`, and its figures beside it with the suffixes .json and .md.

  Args:
    hypotheses: the utterances, texts as decoded.
    normalizer: name of the normaliser; the report names it.
    normalizer_reason: why it was chosen.
    source: runs, checkpoints and splits that the hypotheses came from.
    curves: of the training run.
    baseline: of the untrained model; "untrained_wer" in the JSON.
    extra: facts to list, and further keys of the JSON ("seconds": of the whole run).
    scores: score(hypotheses, normalizer), if already computed.
    findings: quality, calibration, a board's figures, comparisons and speed; None: quality and
      speed alone.
    audio: folder of records or sound files; without it, sound is looked for where lines name it.

  Raises:
    ValueError: no hypotheses, an unknown normalizer, scores of something else, or a fact whose
      name the JSON already uses.
  """
  page_path, figures_path, markdown_path = report_files(path)
  scores = scores or score(hypotheses, normalizer)
  if scores.normalizer != normalizer or scores.overall.utterances != len(hypotheses):
    raise ValueError("scores belong to another normalizer or to other hypotheses")
  findings = findings or Findings(
    quality=assess(hypotheses, scores.texts), speed=measure(hypotheses)
  )
  sources = [source] if isinstance(source, Decoded) else list(source or ())
  figures = make_figures(title, scores, sources, baseline, findings)
  facts = dict(extra or {})
  if clash := sorted(figures.keys() & facts.keys()):
    raise ValueError(f"extra facts {clash} are figures of the report itself; name them otherwise")
  worst = find_worst(hypotheses, scores, WORST)
  axis = _axis(scores)
  players = _players(worst, audio)
  page = render(
    pathlib.Path(__file__).with_name("report.html.jinja"),
    title=title,
    scores=scores,
    baseline=baseline,
    rows=_rows(scores, axis),
    axis=axis,
    sources=sources,
    reason=normalizer_reason,
    intervals=describe_intervals(scores),
    findings=findings,
    quality=state_quality(findings.quality),
    speed=None if findings.speed is None else state_speed(findings.speed),
    **_calibration(findings),
    loss=curve(curves.loss) if curves else None,
    rates=curves.rates() if curves else [],
    filters={
      "rate": format_rate,
      "interval": format_interval,
      "difference": format_difference,
      "number": format_number,
      "p": format_p,
    },
    worst=list(zip(worst, players, strict=True)),
    has_players=any(player.sound for player in players),
    player_seconds=MAX_PLAYER_SECONDS,
    player_megabytes=MAX_PLAYER_BYTES / 2**20,
    facts=facts,
  )
  markdown = to_markdown(
    title,
    scores,
    reason=normalizer_reason,
    sources=sources,
    baseline=baseline,
    findings=findings,
    facts=facts,
  )
  with atomic_open(page_path) as file:
    file.write(page)
  with atomic_open(figures_path) as file:
    json.dump(figures | facts, file, ensure_ascii=False, indent=2, allow_nan=False)
    file.write("\n")
  with atomic_open(markdown_path) as file:
    file.write(markdown)
  return scores


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Row:
  """Line of the table.

  Attributes:
    score: None for a line that says how many groups are left out.
    bar: (lower, upper, rate) on the picture's axis, 0 to 1.
  """

  kind: str
  name: str
  score: Score | None
  bar: tuple[float, float, float] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Player:
  """Sound of an example.

  Attributes:
    sound: a data: URI, "" where there is none.
    seconds: in the player.
    full: the page has no room for it.
  """

  sound: str = ""
  seconds: float = 0.0
  full: bool = False


def _axis(scores: Scores) -> float:
  """Returns the rate at the right end of the table's pictures: that of the widest interval."""
  shown = [group for _, groups, _ in shown_groups(scores) for group in groups.values()]
  intervals = [group.words.interval for group in (scores.overall, *shown)]
  return max([interval[1] for interval in intervals if interval], default=0.0) or 1.0


def _rows(scores: Scores, axis: float) -> list[_Row]:
  rows = [_row("All", "All clips", scores.overall, axis)]
  for kind, groups, left_out in shown_groups(scores):
    rows += [_row(kind, name, group, axis) for name, group in groups.items()]
    if left_out:
      rows.append(_Row(kind=kind, name=f"{left_out:,} more, in the JSON", score=None))
  return rows


def _row(kind: str, name: str, score: Score, axis: float) -> _Row:
  interval, bar = score.words.interval, None
  if interval is not None:
    # An interval of percentiles can miss the rate itself by a little.
    bar = interval[0] / axis, interval[1] / axis, min(score.wer / axis, 1.0)
  return _Row(kind=kind, name=name, score=score, bar=bar)


def _calibration(findings: Findings) -> dict[str, Any]:
  calibration = findings.calibration
  if calibration is None:
    return {"calibration": None, "reliability": None, "risk": None}
  return {
    "calibration": state_calibration(calibration),
    "reliability": plot_reliability(calibration),
    "risk": plot_risk(calibration),
  }


def _players(worst: Sequence[Example], audio: str | os.PathLike[str] | None) -> list[_Player]:
  utterances = [example.utterance for example in worst]
  embedded = []
  page = Players(MAX_PLAYER_BYTES)
  for samples in find_sounds(utterances, audio, max_seconds=MAX_PLAYER_SECONDS):
    if samples is None or not len(samples):
      embedded.append(_Player())
      continue
    sound = page.embed(samples)
    embedded.append(_Player(sound=sound, seconds=len(samples) / SAMPLE_RATE, full=not sound))
  return embedded
