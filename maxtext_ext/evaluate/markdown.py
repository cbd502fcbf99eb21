"""Report as Markdown: tables and statements, without pictures and examples."""

from collections.abc import Mapping, Sequence

from maxtext_ext.escape import printable
from maxtext_ext.evaluate.decoded import Decoded
from maxtext_ext.evaluate.findings import Findings
from maxtext_ext.evaluate.formats import (
  format_difference,
  format_interval,
  format_number,
  format_p,
  format_rate,
  shown_groups,
)
from maxtext_ext.evaluate.rates import Score
from maxtext_ext.evaluate.statements import (
  state_calibration,
  state_method,
  state_quality,
  state_source,
  state_speed,
)
from maxtext_ext.evaluate.wer import Scores

_COLUMNS = ("", "clips", "words", "WER", "95% interval", "sub", "del", "ins", "CER")


def to_markdown(
  title: str,
  scores: Scores,
  *,
  reason: str,
  sources: Sequence[Decoded],
  baseline: Scores | None,
  findings: Findings,
  facts: Mapping[str, object],
) -> str:
  """Renders the report."""
  parts = [f"# {_cell(title)}", *(f"Transcripts: {_cell(state_source(each))}." for each in sources)]
  parts += [_rates(scores, baseline), _list(state_method(scores, reason))]
  if findings.board is not None:
    parts += [f"## {_cell(findings.protocol)}", _board(findings)]
  if findings.comparisons:
    parts.append("## Comparison")
  for comparison in findings.comparisons:
    parts.append(f"Second system: {_cell(comparison.other)}. {comparison.overall}")
    rows = [
      (
        name,
        format_rate(item.first),
        format_rate(item.second),
        format_difference(item.interval),
        format_p(item.p),
        "yes" if item.distinguished else "no",
      )
      for name, item in [*comparison.by_dataset.items(), ("all", comparison.overall)]
    ]
    parts.append(_table(("", "first", "second", "95% of difference", "p", "distinguished"), rows))
  parts += ["## Quality", _list(state_quality(findings.quality))]
  if findings.calibration is not None:
    parts += ["## Calibration", _list(state_calibration(findings.calibration))]
  if findings.speed is not None:
    parts += ["## Speed", _list(state_speed(findings.speed))]
  if facts:
    parts += ["## Run", _list({name: str(fact) for name, fact in facts.items()})]
  return "\n\n".join(parts) + "\n"


def _rates(scores: Scores, baseline: Scores | None) -> str:
  columns = (*_COLUMNS, "MER") if scores.has_characters else _COLUMNS
  rows = []
  for kind, groups, left_out in shown_groups(scores):
    rows += [(f"{kind}: {name}", *_cells(group)) for name, group in groups.items()]
    if left_out:
      rows.append((f"{kind}: {left_out:,} more", *[""] * (len(_COLUMNS) - 1)))
  if baseline is not None:
    rows.append(("untrained", *_cells(baseline.overall)))
  rows.append(("all", *_cells(scores.overall)))
  if len(scores.by_dataset) > 1:
    rates = (format_rate(scores.macro()), *[""] * 4, format_rate(scores.macro(rate="characters")))
    rows.append(("mean of datasets", "", "", *rates))
  return _table(columns, rows)


def _cells(score: Score) -> tuple[str, ...]:
  words = score.words
  return (
    f"{score.utterances:,}",
    f"{words.units:,}",
    format_rate(score.words.known),
    format_interval(words.interval),
    f"{words.substitutions:,}",
    f"{words.deletions:,}",
    f"{words.insertions:,}",
    format_rate(score.characters.known),
    format_rate(score.mixed.known),
  )


def _board(findings: Findings) -> str:
  assert findings.board is not None
  columns = list(next(iter(findings.board.sets.values())))
  rows = [
    (name, *(format_number(figures.get(column)) for column in columns))
    for name, figures in findings.board.sets.items()
  ]
  if findings.board.average:
    average = findings.board.average
    rows.append(("average", *(format_number(average.get(column)) for column in columns)))
  return _table(("", *columns), rows)


def _list(facts: Mapping[str, str]) -> str:
  return "\n".join(f"- {_cell(name)}: {_cell(fact)}" for name, fact in facts.items())


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *(row[: len(columns)] for row in rows)]
  return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
  """Escapes what would end a cell or a row, or become markup."""
  for mark in ("\\", "|", "<", "[", "`", "*"):
    text = text.replace(mark, f"\\{mark}")
  return " ".join(printable(text).split())
