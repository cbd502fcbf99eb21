"""Evaluation report: a self-contained HTML page, and the same figures as JSON."""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Self

from etils import epath

from maxtext_ext.evaluate.alignment import Pair, align
from maxtext_ext.evaluate.decoded import Decoded
from maxtext_ext.evaluate.hypotheses import Hypothesis
from maxtext_ext.evaluate.wer import ErrorRate, Score, Scores, score
from maxtext_ext.files.jsonl import read_metrics
from maxtext_ext.files.storage import atomic_open
from maxtext_ext.pages.chart import Curve, curve
from maxtext_ext.pages.render import direction, render
from maxtext_ext.text.normalize import get_normalizer

Fact = str | int | float

WORST = 20  # utterances shown with their differences
_KEPT_HITS = 3  # shown on either side of a longer run of correct words
_MAX_PAIRS = 300  # words shown of one utterance


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


def write_report(
  hypotheses: Sequence[Hypothesis],
  path: str | os.PathLike[str],
  *,
  title: str,
  normalizer: str = "basic",
  normalizer_reason: str = "as asked",
  source: Decoded | None = None,
  curves: TrainingCurves | None = None,
  baseline: Scores | None = None,
  extra: Mapping[str, Fact] | None = None,
  scores: Scores | None = None,
) -> Scores:
  """Writes the page to `path` and its figures to the same name with the suffix .json.

  Args:
    hypotheses: the utterances, texts as decoded.
    normalizer: a name in maxtext_ext.text.normalize.NORMALIZERS; the report names it.
    normalizer_reason: why it was chosen.
    source: run, checkpoint and split that the hypotheses came from.
    curves: of the training run.
    baseline: of the untrained model; "untrained_wer" in the JSON.
    extra: facts to list, and further keys of the JSON ("seconds": of the whole run).
    scores: score(hypotheses, normalizer), if already computed.

  Raises:
    ValueError: no hypotheses, an unknown normalizer, scores of something else, or a fact whose
      name the JSON already uses.
  """
  page_file = epath.Path(path)
  if page_file.suffix == ".json":
    raise ValueError(f"{path}: the figures go to a .json beside the page; name it .html")
  scores = scores or score(hypotheses, normalizer)
  if scores.normalizer != normalizer or scores.overall.utterances != len(hypotheses):
    raise ValueError("scores belong to another normalizer or to other hypotheses")
  figures = _figures(title, scores, source, baseline)
  if clash := sorted(figures.keys() & (extra or {}).keys()):
    raise ValueError(f"extra facts {clash} are figures of the report itself; name them otherwise")
  axis = _axis(scores)
  page = render(
    pathlib.Path(__file__).with_name("report.html.jinja"),
    title=title,
    scores=scores,
    baseline=baseline,
    rows=_rows(scores, axis),
    axis=axis,
    source=source,
    reason=normalizer_reason,
    loss=curve(curves.loss) if curves else None,
    rates=_rate_curves(curves) if curves else [],
    filters={"rate": format_rate, "interval": format_interval},
    worst=_worst(hypotheses, scores),
    facts=extra or {},
  )
  with atomic_open(path) as file:
    file.write(page)
  with atomic_open(page_file.with_suffix(".json")) as file:
    json.dump(figures | dict(extra or {}), file, ensure_ascii=False, indent=2, allow_nan=False)
    file.write("\n")
  return scores


def format_rate(rate: float) -> str:
  """Formats a fraction as a percentage: 0.0834 -> "8.34%"; "n/a" without reference units."""
  return f"{100 * rate:.2f}%" if math.isfinite(rate) else "n/a"


def format_interval(interval: tuple[float, float] | None) -> str:
  """Formats an interval: (0.07, 0.09) -> "7.00-9.00"; "n/a" without an interval."""
  return "n/a" if interval is None else f"{100 * interval[0]:.2f}\u2013{100 * interval[1]:.2f}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Row:
  """Line of the table. `bar` is (lower, upper, rate) on the picture's axis, 0 to 1."""

  kind: str
  name: str
  score: Score
  bar: tuple[float, float, float] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Gap:
  """Correct words that the page leaves out."""

  words: int
  kind: str = "gap"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Example:
  """An utterance with errors."""

  utterance: Hypothesis
  edits: int
  words: int  # of the reference, normalised
  pairs: list[Pair | _Gap]
  direction: str
  left_out: int  # pairs beyond _MAX_PAIRS


def _groups(scores: Scores) -> list[tuple[str, str, Score]]:
  """Lists (kind, name, score) of every line of the table."""
  return [
    ("All", "All utterances", scores.overall),
    *(("Language", name, group) for name, group in scores.by_language.items()),
    *(("Dataset", name, group) for name, group in scores.by_dataset.items()),
  ]


def _axis(scores: Scores) -> float:
  """Returns the rate at the right end of the table's pictures: that of the widest interval."""
  intervals = [group.words.interval for _, _, group in _groups(scores)]
  return max([interval[1] for interval in intervals if interval], default=0.0) or 1.0


def _rows(scores: Scores, axis: float) -> list[_Row]:
  rows = []
  for kind, name, group in _groups(scores):
    interval, bar = group.words.interval, None
    if interval is not None:
      # An interval of percentiles can miss the rate itself by a little.
      bar = interval[0] / axis, interval[1] / axis, min(group.wer / axis, 1.0)
    rows.append(_Row(kind=kind, name=name, score=group, bar=bar))
  return rows


def _worst(hypotheses: Sequence[Hypothesis], scores: Scores) -> list[_Example]:
  """Returns the utterances with the most word edits; ties in the order of their ids."""
  normalize = get_normalizer(scores.normalizer)
  ranked = sorted(
    (index for index, edits in enumerate(scores.word_edits_U) if edits),
    key=lambda index: (
      -scores.word_edits_U[index],
      hypotheses[index].dataset,
      hypotheses[index].id,
    ),
  )
  examples = []
  for index in ranked[:WORST]:
    utterance = hypotheses[index]
    reference, hypothesis = normalize(utterance.reference), normalize(utterance.hypothesis)
    pairs = _shorten(align(reference.split(), hypothesis.split()))
    examples.append(
      _Example(
        utterance=utterance,
        edits=int(scores.word_edits_U[index]),
        words=len(reference.split()),
        pairs=pairs[:_MAX_PAIRS],
        direction=direction(reference or hypothesis),
        left_out=max(0, len(pairs) - _MAX_PAIRS),
      )
    )
  return examples


def _shorten(pairs: list[Pair]) -> list[Pair | _Gap]:
  """Puts a gap inside runs of correct words that would fill the page."""
  shortened: list[Pair | _Gap] = []
  run: list[Pair] = []

  def flush() -> None:
    if len(run) > 4 * _KEPT_HITS:
      gap = _Gap(words=len(run) - 2 * _KEPT_HITS)
      shortened.extend([*run[:_KEPT_HITS], gap, *run[-_KEPT_HITS:]])
    else:
      shortened.extend(run)
    run.clear()

  for pair in pairs:
    if pair.kind == "hit":
      run.append(pair)
    else:
      flush()
      shortened.append(pair)
  flush()
  return shortened


def _rate_curves(curves: TrainingCurves) -> list[tuple[str, Curve]]:
  """Returns names and lines of the error rates in percent, on one scale."""
  percent = {
    name: [(step, 100 * rate) for step, rate in points]
    for name, points in (("WER", curves.wer), ("CER", curves.cer))
  }
  top = max((rate for points in percent.values() for _, rate in points), default=0.0)
  drawn = {name: curve(points, top=top) for name, points in percent.items()}
  return [(name, line) for name, line in drawn.items() if line is not None]


def _figures(
  title: str, scores: Scores, source: Decoded | None, baseline: Scores | None
) -> dict[str, Any]:
  """Returns the JSON. Rates are fractions; null without reference units."""
  groups = {"language": scores.by_language, "dataset": scores.by_dataset}
  figures: dict[str, Any] = {
    "title": title,
    "normalizer": scores.normalizer,
    "wer": _fraction(scores.wer),
    "cer": _fraction(scores.cer),
    "wer_interval": scores.overall.words.interval,
    "cer_interval": scores.overall.characters.interval,
    "cut": scores.overall.cut,
  }
  if source is not None:
    figures |= {
      "run": source.run,
      "split": source.split,
      "checkpoint": source.checkpoint,
      "step": source.step,
    }
  for kind, scores_by_name in groups.items():
    figures[f"wer_by_{kind}"] = {k: _fraction(v.wer) for k, v in scores_by_name.items()}
    figures[f"cer_by_{kind}"] = {k: _fraction(v.cer) for k, v in scores_by_name.items()}
  if baseline is not None:
    figures["untrained_wer"] = _fraction(baseline.wer)
    figures["untrained_cer"] = _fraction(baseline.cer)
  figures["details"] = {
    "all": _details(scores.overall),
    **{f"by_{kind}": {k: _details(v) for k, v in group.items()} for kind, group in groups.items()},
  }
  return figures


def _details(score: Score) -> dict[str, Any]:
  return {
    "utterances": score.utterances,
    "audio_seconds": score.seconds,
    "empty_references": score.empty_references,
    "empty_hypotheses": score.empty_hypotheses,
    "cut_hypotheses": score.cut,
    "words": _counts(score.words),
    "characters": _counts(score.characters),
  }


def _counts(rate: ErrorRate) -> dict[str, Any]:
  return {"reference": rate.units, "rate": _fraction(rate.rate), **dataclasses.asdict(rate)}


def _fraction(rate: float) -> float | None:
  return rate if math.isfinite(rate) else None
