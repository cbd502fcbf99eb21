"""Command `maxtext-ext plan`: parses options, loads modules, calls them."""

from typing import Annotated

import typer


def plan(
  config: Annotated[str, typer.Argument(metavar="CONFIG", help="A yml file, as for train.")],
  overrides: Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Keys that override the file's."),
  ] = None,
  topology: Annotated[
    str, typer.Option(help="v4-8 to v4-128, v5p-..., v5e-..., v6e-..., or gpu:80GB.")
  ] = "v4-8",
  search: Annotated[
    bool,
    typer.Option("--search", help="Find the most rows and the cheapest remat that fit."),
  ] = False,
  hours: Annotated[
    float | None, typer.Option(help="Hours of audio, for time and price of an epoch.", min=0.0)
  ] = None,
  exact: Annotated[
    bool,
    typer.Option("--exact", help="Compile as training does: exact memory, 5 times slower."),
  ] = False,
  json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
  """Estimate memory, speed and price of training on a slice, which need not be present.

  Exit status 1 when it does not fit.
  """
  from maxtext_ext.keys.settings import read, refuse_repeats
  from maxtext_ext.planning.topology import parse_topology

  # Report mistakes before importing the rest.
  keys, target = list(overrides or []), parse_topology(topology)
  refuse_repeats(keys)
  read(config, keys)
  from rich.console import Console

  from maxtext_ext.planning import estimate, report
  from maxtext_ext.planning.compiler import Compiler
  from maxtext_ext.planning.plan import make_plan
  from maxtext_ext.planning.search import search as search_for

  progress = Console(stderr=True)
  effort = "O2" if exact else "O0"

  def say(text: str) -> None:
    progress.print(text, highlight=False)

  with Compiler(target) as compiler:
    memory = None
    if search:
      found = search_for(compiler, config, keys, effort=effort, say=say)
      keys, memory = [*keys, *found.overrides], found.memory
    result = make_plan(compiler, config, keys, memory=memory, effort=effort, say=say)
  epoch = estimate.epoch(result, hours) if hours is not None and result.time else None
  report.show(result, Console(), epoch)
  if json:
    typer.echo(report.json_line(result, epoch))
  if not result.memory.fits:
    raise typer.Exit(1)
