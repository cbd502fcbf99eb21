"""Command `maxtext-ext plan`: parses options, loads modules, calls them."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
  from maxtext_ext.planning.topology import Slice


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
    typer.Option(
      "--search",
      help="Find the most rows and the cheapest remat that fit; with --decode, the fastest division"
      " of the slice.",
    ),
  ] = False,
  hours: Annotated[
    float | None,
    typer.Option(
      help="Hours of audio, for time and price of an epoch; with --decode: 1000.", min=0.0
    ),
  ] = None,
  decode: Annotated[
    bool,
    typer.Option(
      "--decode", help="Plan decoding instead, with the most decode_rows that fit unless given."
    ),
  ] = False,
  clip_seconds: Annotated[
    float | None,
    typer.Option(
      help="Median length of the clips to decode, at most 30 s each; 6 unless given.",
      min=0.5,
      max=30,
    ),
  ] = None,
  exact: Annotated[
    bool,
    typer.Option("--exact", help="Compile as training does: exact memory, 5 times slower."),
  ] = False,
  json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
  """Estimate memory, speed and price on a slice, which need not be present.

  Exit status 1 when it does not fit.
  """
  from maxtext_ext.keys.settings import read, refuse_repeats
  from maxtext_ext.planning.memory import DoesNotFit
  from maxtext_ext.planning.topology import parse_topology

  # Report mistakes before importing the rest.
  keys, target = list(overrides or []), parse_topology(topology)
  refuse_repeats(keys)
  if clip_seconds is not None and not decode:
    raise ValueError("--clip-seconds is of clips to decode, expected with --decode; leave it out")
  if exact and not target.compiled:
    raise ValueError(
      f"--exact asks for a compiler, and plans for {target.name} are estimates; leave it out"
    )
  read(config, keys)
  try:
    if decode:
      fits = _plan_decoding(
        config,
        keys,
        target,
        seconds=6.0 if clip_seconds is None else clip_seconds,
        hours=1000.0 if hours is None else hours,
        search=search,
        exact=exact,
        json=json,
      )
    else:
      fits = _plan_training(
        config, keys, target, hours=hours, search=search, exact=exact, json=json
      )
  except DoesNotFit as error:
    typer.echo(f"It does not fit: {error}", err=True)
    raise typer.Exit(1) from error
  if not fits:
    raise typer.Exit(1)


def _plan_training(
  config: str,
  keys: list[str],
  target: "Slice",
  *,
  hours: float | None,
  search: bool,
  exact: bool,
  json: bool,
) -> bool:
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
  return result.memory.fits


def _plan_decoding(
  config: str,
  keys: list[str],
  target: "Slice",
  *,
  seconds: float,
  hours: float,
  search: bool,
  exact: bool,
  json: bool,
) -> bool:
  from rich.console import Console

  from maxtext_ext.planning import decode_report
  from maxtext_ext.planning.compiler import Compiler
  from maxtext_ext.planning.decode_plan import compare_divisions, make_plan

  progress = Console(stderr=True)

  def say(text: str) -> None:
    progress.print(text, highlight=False)

  with Compiler(target) as compiler:
    if search:
      keys = [key for key in keys if not key.startswith("ici_")]
      divisions = compare_divisions(compiler, config, keys, seconds=seconds, say=say)
      keys = [*keys, *divisions[0].keys]
    result = make_plan(
      compiler,
      config,
      keys,
      seconds=seconds,
      fit_slots=not any(key.startswith("decode_rows=") for key in keys),
      effort="O2" if exact else "O0",
      say=say,
    )
  if search:
    decode_report.show_divisions(divisions, Console())
  decode_report.show(result, Console(), hours)
  if json:
    typer.echo(decode_report.json_line(result, hours))
  return result.memory.total.fits
