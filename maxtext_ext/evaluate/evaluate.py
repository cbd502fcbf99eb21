"""Evaluation of a decoded split: reads, scores, prints and reports."""

import os
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from maxtext_ext.escape import printable
from maxtext_ext.evaluate import decoded
from maxtext_ext.evaluate.hypotheses import Hypothesis, describe_cut, read_hypotheses
from maxtext_ext.evaluate.report import (
  Fact,
  TrainingCurves,
  format_interval,
  format_rate,
  write_report,
)
from maxtext_ext.evaluate.wer import Score, Scores, score
from maxtext_ext.text.normalize import OF_LANGUAGES

AUTO = "auto"  # the run's normaliser, else that of the language


def evaluate(
  path: str | os.PathLike[str],
  *,
  report: str | os.PathLike[str] | None = None,
  normalizer: str = AUTO,
  metrics: str | os.PathLike[str] | None = None,
  baseline: str | os.PathLike[str] | None = None,
  title: str = "Speech recognition report",
  extra: Mapping[str, Fact] | None = None,
  console: Console | None = None,
) -> Scores:
  """Scores the hypotheses at `path`, prints a table and writes the report when asked to.

  Args:
    path: a file or directory of decode's JSON lines.
    report: path of report.html; report.json is written beside it, under the same stem.
    normalizer: a name in maxtext_ext.text.normalize.NORMALIZERS, or "auto": `choose_normalizer`.
    metrics: metrics.jsonl of the training run, for its curves.
    baseline: hypotheses of the untrained model, best on the same utterances.
    extra: facts to list in the report, such as {"seconds": 412.0}.
    console: that prints the table; standard output by default.

  Raises:
    ValueError: a file that is missing or malformed, or an unknown normalizer.
  """
  hypotheses = _read(path)
  source = decoded.read(path)
  reason = "as asked"
  if normalizer == AUTO:
    normalizer, reason = choose_normalizer(source, hypotheses)
  scores = score(hypotheses, normalizer)
  untrained = None if baseline is None else score(_read(baseline), normalizer)
  console = console or Console()
  console.print(_table(scores, untrained, reason))
  if cut := scores.overall.cut:
    limit = None if source is None else source.max_new_tokens
    console.print(describe_cut(cut, len(hypotheses), limit), highlight=False)
  if report is not None:
    write_report(
      hypotheses,
      report,
      title=title,
      normalizer=normalizer,
      scores=scores,
      normalizer_reason=reason,
      source=source,
      curves=None if metrics is None else TrainingCurves.read(metrics),
      baseline=untrained,
      extra=extra,
    )
  return scores


def _read(path: str | os.PathLike[str]) -> list[Hypothesis]:
  """Reads the hypotheses at a path, at least one."""
  if hypotheses := read_hypotheses(path):
    return hypotheses
  raise ValueError(f"{os.fspath(path)}: no line in it; expected hypotheses, run decode again")


def choose_normalizer(
  source: decoded.Decoded | None, hypotheses: Sequence[Hypothesis]
) -> tuple[str, str]:
  """Chooses the normaliser of the run, else of the only language, else basic; with the reason."""
  if source is not None:
    return source.normalizer, "the run's"
  languages = {item.language for item in hypotheses}
  if len(languages) > 1:
    return "basic", "for several languages"
  (language,) = languages or {None}
  if language is None:
    return "basic", "as no language is named"
  return OF_LANGUAGES.get(language, "basic"), f"for {language}"


def _table(scores: Scores, untrained: Scores | None, reason: str) -> Table:
  table = Table(
    title=Text(printable(f"Error rates (normalizer: {scores.normalizer}, {reason})")),
    box=SIMPLE,
    pad_edge=False,
    padding=(0, 1, 0, 0),
  )
  table.add_column("", overflow="fold")
  for name in ("clips", "words", "WER", "95% interval", "sub", "del", "ins", "CER"):
    table.add_column(name, justify="right", no_wrap=True)
  groups = [*scores.by_language.items(), *scores.by_dataset.items()]
  for index, (name, group) in enumerate(groups, 1):
    edge = index in (len(scores.by_language), len(groups))
    table.add_row(Text(printable(name)), *_cells(group), end_section=edge)
  if untrained is not None:
    table.add_row("untrained", *_cells(untrained.overall), style="dim")
  table.add_row("all", *_cells(scores.overall), style="bold")
  return table


def _cells(score: Score) -> list[str]:
  return [
    f"{score.utterances:,}",
    f"{score.words.units:,}",
    format_rate(score.wer),
    format_interval(score.words.interval),
    f"{score.words.substitutions:,}",
    f"{score.words.deletions:,}",
    f"{score.words.insertions:,}",
    format_rate(score.cer),
  ]
