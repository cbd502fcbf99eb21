"""Command `maxtext-ext config`: keys of a run with their values and origins."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
  from rich.console import Console

  from maxtext_ext.keys.listing import Row

_DEFAULTS = "configs/speech.yml"
_WIDEST = 110  # columns, so that an origin stands near its value


def config(
  config: Annotated[
    str, typer.Argument(metavar="[CONFIG]", help="A yml file, as for train.")
  ] = _DEFAULTS,
  overrides: Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Keys that override the file's."),
  ] = None,
  with_maxtext: Annotated[
    bool, typer.Option("--all", help="Also the keys of MaxText that this run sets.")
  ] = False,
  json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
  markdown: Annotated[
    bool,
    typer.Option("--markdown", help="Print docs/configuration.md: all keys and their defaults."),
  ] = False,
) -> None:
  """Print every key of this project with its value, its origin and its description."""
  from maxtext_ext.keys import listing
  from maxtext_ext.keys.settings import read, refuse_repeats

  if markdown:
    if config != _DEFAULTS or overrides or json:
      raise typer.BadParameter("--markdown prints defaults: use it without CONFIG and keys")
    typer.echo(listing.to_markdown(), nl=False)
    return
  refuse_repeats(overrides or [])
  listed = listing.rows(read(config, overrides or []), with_maxtext=with_maxtext)
  if json:
    typer.echo(listing.to_json(listed))
    return
  from rich.console import Console

  console = Console()
  console.width = min(console.width, _WIDEST)
  show(listed, console)


def show(listed: "list[Row]", console: "Console") -> None:
  """Prints two lines per key: value and origin, then the description."""
  from rich.padding import Padding
  from rich.table import Table
  from rich.text import Text

  from maxtext_ext.escape import printable
  from maxtext_ext.keys.listing import show as as_yml
  from maxtext_ext.keys.settings import DEFAULT

  group = ""
  for row in listed:
    if row.group != group:
      group = row.group
      console.print(Text(f"\n{group}", style="bold underline"))
    line = Table.grid(expand=True, padding=(0, 1))
    line.add_column(ratio=1, overflow="fold")
    line.add_column(justify="right", max_width=max(20, console.width // 2), overflow="fold")
    style = "" if row.origin == DEFAULT else "bold"
    line.add_row(
      Text.assemble((f"{row.key}: ", "cyan"), (printable(as_yml(row.value)) or '""', style)),
      Text(printable(row.origin), style="dim"),
    )
    console.print(Padding(line, (0, 0, 0, 2)))
    console.print(Padding(Text(row.description, style="dim"), (0, 0, 0, 6)))
