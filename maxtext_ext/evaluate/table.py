"""Tables of an evaluation on the terminal."""

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from maxtext_ext.escape import printable
from maxtext_ext.evaluate.boards.protocol import Board
from maxtext_ext.evaluate.compare import Comparison
from maxtext_ext.evaluate.formats import (
  format_difference,
  format_interval,
  format_number,
  format_p,
  format_rate,
  shown_groups,
)
from maxtext_ext.evaluate.rates import Score
from maxtext_ext.evaluate.wer import Scores


def rates_table(scores: Scores, untrained: Scores | None, reason: str) -> Table:
  """Makes the table of error rates by group."""
  columns = ["clips", "words", "WER", "95% interval", "sub", "del", "ins", "CER"]
  table = _table(f"Error rates (normalizer: {scores.normalizer}, {reason})")
  for name in [*columns, "MER"] if scores.has_characters else columns:
    table.add_column(name, justify="right", no_wrap=True)

  def add(name: str | Text, score: Score, **options: object) -> None:
    table.add_row(name, *_cells(score)[: len(table.columns) - 1], **options)  # type: ignore[arg-type]

  for _, groups, left_out in shown_groups(scores):
    last = next(reversed(groups)) if not left_out else None
    for name, group in groups.items():
      add(Text(printable(name)), group, end_section=name == last)
    if left_out:
      table.add_row(f"{left_out:,} more", end_section=True, style="dim")
  if untrained is not None:
    add("untrained", untrained.overall, style="dim")
  add("all", scores.overall, style="bold")
  if len(scores.by_dataset) > 1:
    means = format_rate(scores.macro()), *[""] * 4, format_rate(scores.macro(rate="characters"))
    table.add_row("mean of datasets", "", "", *means)
  return table


def board_table(protocol: str, board: Board) -> Table:
  """Makes the table of a board's figures."""
  table = _table(f"As {protocol} scores")
  columns = list(next(iter(board.sets.values())))
  for column in columns:
    table.add_column(column, justify="right", no_wrap=True)
  for name, figures in board.sets.items():
    table.add_row(
      Text(printable(name)), *(format_number(figures.get(column)) for column in columns)
    )
  if board.average:
    average = (format_number(board.average.get(column)) for column in columns)
    table.add_row("average", *average, style="bold")
  return table


def comparison_table(comparison: Comparison) -> Table:
  """Makes the table of a comparison by dataset."""
  table = _table(f"Compared with {comparison.other}")
  for name in ("first", "second", "95% of difference", "P(better)", "MAPSSWE p", "distinguished"):
    table.add_column(name, justify="right", no_wrap=True)
  rows = {**comparison.by_dataset, "all": comparison.overall}
  if len(comparison.by_dataset) == 1:
    rows = {"all": comparison.overall}
  for name, item in rows.items():
    table.add_row(
      Text(printable(name)),
      format_rate(item.first),
      format_rate(item.second),
      format_difference(item.interval),
      format_number(item.improvement),
      format_p(item.p),
      "yes" if item.distinguished else "no",
    )
  return table


def _table(title: str) -> Table:
  table = Table(title=Text(printable(title)), box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
  table.add_column("", overflow="fold")
  return table


def _cells(score: Score) -> list[str]:
  return [
    f"{score.utterances:,}",
    f"{score.words.units:,}",
    format_rate(score.words.known),
    format_interval(score.words.interval),
    f"{score.words.substitutions:,}",
    f"{score.words.deletions:,}",
    f"{score.words.insertions:,}",
    format_rate(score.characters.known),
    format_rate(score.mixed.known),
  ]
