"""Shared command of the scripts data/prepare_*.py: run, print counts and the next steps."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import typer
from rich import progress
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from maxtext_ext.conversion.convert import QUARANTINE_NAME, TooManyBadError
from maxtext_ext.pages.duration import format_duration
from maxtext_ext.prepare.export import export
from maxtext_ext.prepare.prepare import Prepared, PrepareOptions, ProgressCallback, prepare
from maxtext_ext.prepare.recipe import Source

_WIDTH = 100  # columns of the table where the output is no terminal
_MOST_COLUMNS = 4  # of splits in the table; of more each has a row of its own
_ROUNDING = 0.06  # hours, of what is published with one digit


def run(
  sources: Sequence[tuple[Source, str]],
  out: str,
  options: PrepareOptions,
  *,
  jsonl: str | None = None,
  lines: Callable[[Sequence[Prepared]], str] | None = None,
) -> None:
  """Prepares the sources, and prints counts and the lines for an experiment's configuration.

  Args:
    sources: pairs of source and its place, see `prepare.prepare`.
    out: folder of the shards.
    options: see there.
    jsonl: folder for the official fine-tuning format; None: do not export.
    lines: makes the lines for an experiment; None: `mixture_lines`.

  Raises:
    ValueError: as `prepare`; where there are too many bad records, they were printed before.
  """
  with _progress() as watch:
    try:
      done = prepare(sources, out, options, watch=watch)
    except TooManyBadError as error:
      for reason in error.reasons:
        typer.echo(f"  bad: {reason}", err=True)
      raise ValueError(error.summary) from error
  print_counts(done)
  typer.echo("For an experiment:\n" + (lines or mixture_lines)(done))
  if jsonl:
    _export(done, jsonl, options.workers)


def choose(
  sources: Sequence[Source], places: dict[str, str], only: Sequence[str]
) -> list[tuple[Source, str]]:
  """Selects sources of a recipe and the place of each.

  Args:
    sources: all of the recipe.
    places: a path or id by name; the others are on the hub.
    only: names; none means all.

  Raises:
    ValueError: there is no source of a name.
  """
  known = [source.name for source in sources]
  for name in (*places, *only):
    if name not in known:
      raise ValueError(f"'{name}' is no source, expected one of {known}")
  return [
    (source, places.get(source.name, "")) for source in sources if not only or source.name in only
  ]


def choose_parts(source: Source, only: Sequence[str]) -> Source:
  """Returns a source with some of its parts.

  Args:
    source: of several parts.
    only: their labels; none means all.

  Raises:
    ValueError: there is no part of a name.
  """
  labels = [part.label for part in source.parts]
  for name in only:
    if name not in labels:
      raise ValueError(f"'{name}' is no part of {source.name}, expected one of {labels}")
  chosen = [part for part in source.parts if not only or part.label in only]
  return dataclasses.replace(source, parts=tuple(chosen))


def print_counts(done: Sequence[Prepared]) -> None:
  """Prints the counts of all parts (read = written + quarantined + left out) and of each split."""
  names = list(dict.fromkeys(split for each in done for split in each.splits))
  names = names if len(names) <= _MOST_COLUMNS else []
  table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
  table.add_column("source", no_wrap=True)
  for heading in ("read", "written", "quarantined", "left out", *names, "audio"):
    table.add_column(heading, justify="right")
  for each in done:
    counts = each.summary
    left_out = sum(counts.left_out.values())
    assert counts.read == counts.written + counts.quarantined + left_out
    table.add_row(
      f"{each.name} {each.part.label}",
      *(f"{count:,}" for count in (counts.read, counts.written, counts.quarantined, left_out)),
      *(f"{each.splits[name].records:,}" if name in each.splits else "" for name in names),
      format_duration(counts.seconds),
    )
  console = Console()
  (console if console.is_terminal else Console(width=_WIDTH)).print(table)
  for each in done:
    for reason, count in each.summary.left_out.items():
      typer.echo(f"  {each.name} {each.part.label}: {count:,} left out, {reason}")
    if each.summary.quarantined:
      typer.echo(
        f"  {each.name} {each.part.label}: {each.summary.quarantined:,} quarantined, see "
        f"{each.data_dir}/{QUARANTINE_NAME}"
      )
    if difference := published_difference(each):
      typer.echo(f"  {each.name} {each.part.label}: {difference}")
    if each.summary.repeated:
      typer.echo(f"  {each.name} {each.part.label}: complete already, nothing to do")


def published_difference(each: Prepared) -> str:
  """Compares a part with what its corpus says of it; returns the finding, empty without figures."""
  published, counts = each.part.published, each.summary
  if published is None:
    return ""
  if counts.read != published.records:
    return (
      f"INCOMPLETE: {counts.read:,} utterances, of {published.records:,} published; "
      "look for missing files and run it again"
    )
  hours = counts.seconds / 3600
  is_whole = counts.written == counts.read
  if published.hours and is_whole and abs(hours - published.hours) > _ROUNDING:
    return (
      f"DIFFERENT: {hours:,.2f} hours, of {published.hours:,} published, in as many utterances; "
      "compare the checksums of the files"
    )
  and_hours = f" and {published.hours:,} hours" if published.hours and is_whole else ""
  return f"{counts.read:,} utterances{and_hours}, as published"


def mixture_lines(done: Sequence[Prepared]) -> str:
  """Returns the lines of an experiment's yml that train on all data sets, or on a single one."""
  folders = {each.name: each.data_dir for each in done}
  if len(folders) == 1:
    return f"data_dir: {next(iter(folders.values()))}"
  entries = [f"  - {{name: {name}, data_dir: {folder}}}" for name, folder in folders.items()]
  return "\n".join(["mixture:", *entries])


def _export(done: Sequence[Prepared], out: str, workers: int) -> None:
  splits: dict[str, dict[str, str]] = {}
  for each in done:
    for split in each.splits:
      splits.setdefault(split, {})[each.name] = each.data_dir
  for split, folders in splits.items():
    with _progress() as watch:

      def show(
        shards: int, total: int, split: str = split, watch: ProgressCallback = watch
      ) -> None:
        watch(f"WAV files of {split}", shards / total, "")

      summary = export(list(folders.items()), split, out, workers=workers, progress=show)
    typer.echo(f"{summary.path}: {summary.lines:,} lines")
    for reason, count in summary.left_out.items():
      typer.echo(f"  {count:,} left out, {reason}")


@contextlib.contextmanager
def _progress() -> Iterator[ProgressCallback]:
  """Shows a progress bar per step; nothing where stderr is no terminal."""
  console = Console(stderr=True)
  columns = (
    progress.TextColumn("{task.description}"),
    progress.BarColumn(),
    progress.TaskProgressColumn(),
    progress.TextColumn("{task.fields[detail]}"),
    progress.TimeRemainingColumn(),
  )
  with progress.Progress(*columns, console=console, disable=not console.is_terminal) as bar:
    tasks: dict[str, progress.TaskID] = {}

    def watch(name: str, share: float, detail: str) -> None:
      if name not in tasks:
        tasks[name] = bar.add_task(name, total=1.0, detail="")
      bar.update(tasks[name], completed=share, detail=detail)

    yield watch


def with_columns(source: Source, columns: dict[str, str]) -> Source:
  """Returns the source with other names of its columns, by the attributes of Source."""
  changes: dict[str, Any] = {**columns}
  return dataclasses.replace(source, **changes)
