"""Figures of a report as JSON. Rates are fractions; null without reference units."""

import dataclasses
import importlib.metadata
import math
from collections.abc import Sequence
from typing import Any

from maxtext_ext.evaluate.decoded import Decoded
from maxtext_ext.evaluate.findings import Findings
from maxtext_ext.evaluate.rates import ErrorRate, Score
from maxtext_ext.evaluate.wer import Scores
from maxtext_ext.version import __version__

# Packages whose versions rates depend on.
_PACKAGES = ("kaldialign", "rapidfuzz", "whisper_normalizer")


def make_figures(
  title: str,
  scores: Scores,
  sources: Sequence[Decoded],
  baseline: Scores | None,
  findings: Findings,
) -> dict[str, Any]:
  """Returns the figures of a report.

  Args:
    sources: runs and checkpoints; of one, its fields are keys of their own.
    baseline: scores of the untrained model.
  """
  figures: dict[str, Any] = {
    "title": title,
    "normalizer": scores.normalizer,
    "wer": fraction(scores.wer),
    "cer": fraction(scores.cer),
    "mer": fraction(scores.overall.mer),
    "wer_interval": scores.overall.words.interval,
    "cer_interval": scores.overall.characters.interval,
    "wer_macro": fraction(scores.macro()),
    "cer_macro": fraction(scores.macro(rate="characters")),
    "cut": scores.overall.cut,
    "method": dataclasses.asdict(scores.method)
    | {"blocks": scores.blocks.kinds, "versions": _versions()},
  }
  runs = [
    {
      "run": each.run,
      **({"input": each.input} if each.input else {"split": each.split}),
      "checkpoint": each.checkpoint,
      "step": each.step,
    }
    for each in sources
  ]
  if len(runs) == 1:
    figures |= runs[0]
  elif runs:
    figures["sources"] = runs
  for kind, groups in scores.groups.items():
    figures[f"wer_by_{kind}"] = {name: fraction(group.wer) for name, group in groups.items()}
    figures[f"cer_by_{kind}"] = {name: fraction(group.cer) for name, group in groups.items()}
  if baseline is not None:
    figures["untrained_wer"] = fraction(baseline.wer)
    figures["untrained_cer"] = fraction(baseline.cer)
  figures["quality"] = findings.quality.figures()
  if findings.calibration is not None:
    figures["calibration"] = findings.calibration.figures()
  if findings.speed is not None:
    figures["speed"] = findings.speed.figures()
  if findings.board is not None:
    figures["protocol"] = findings.protocol
    figures["board"] = _finite(dataclasses.asdict(findings.board))
  if findings.comparisons:
    figures["comparisons"] = [each.figures() for each in findings.comparisons]
  figures["details"] = {
    "all": _details(scores.overall),
    **{
      f"by_{kind}": {name: _details(group) for name, group in groups.items()}
      for kind, groups in scores.groups.items()
    },
  }
  return figures


def _versions() -> dict[str, str]:
  installed = {name: importlib.metadata.version(name) for name in _PACKAGES}
  return {"maxtext_ext": __version__} | installed


def fraction(rate: float) -> float | None:
  """Returns a rate, or None where it is no finite number."""
  return rate if math.isfinite(rate) else None


def _finite(value: Any) -> Any:
  if isinstance(value, dict):
    return {key: _finite(each) for key, each in value.items()}
  return fraction(value) if isinstance(value, float) else value


def _details(score: Score) -> dict[str, Any]:
  return {
    "utterances": score.utterances,
    "audio_seconds": score.seconds,
    "blocks": score.blocks,
    "empty_references": score.empty_references,
    "empty_hypotheses": score.empty_hypotheses,
    "cut_hypotheses": score.cut,
    "words": _counts(score.words),
    "characters": _counts(score.characters),
    "mixed": _counts(score.mixed),
  }


def _counts(rate: ErrorRate) -> dict[str, Any]:
  return {"reference": rate.units, "rate": fraction(rate.rate), **dataclasses.asdict(rate)}
