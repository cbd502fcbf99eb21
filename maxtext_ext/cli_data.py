"""The commands `maxtext-ext data ...`: parse, load, call."""

import os
from typing import Annotated, Literal

import typer

data_app = typer.Typer(help="Bring recordings into the form that training reads.")


@data_app.callback()
def describe_data() -> None:
  """Bring recordings into the form that training reads."""


@data_app.command("convert")
def convert_data(
  source: Annotated[str, typer.Argument(help="A file, a folder or a glob.")],
  out: Annotated[str, typer.Argument(help="The folder of the ArrayRecord shards.")],
  source_format: Annotated[
    Literal["tfrecord", "jsonl"], typer.Option("--from", help="What the source is.")
  ] = "jsonl",
  split: Annotated[str, typer.Option(help="The first part of the shard names.")] = "train",
  audio: Annotated[
    Literal["keep", "pcm16"], typer.Option(help="pcm16 takes half the room of the float samples.")
  ] = "keep",
) -> None:
  """Convert TFRecord files, or JSON lines that name sound files, to ArrayRecord shards.

  What cannot be used goes to quarantine.jsonl in OUT, with its reason.
  """
  from rich.console import Console
  from rich.progress import Progress

  from maxtext_ext.records.convert import QUARANTINE_NAME, convert

  console = Console(stderr=True)
  with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
    task = bar.add_task("converting", total=1.0)
    summary = convert(
      source,
      out,
      source_format,
      split=split,
      audio=audio,
      progress=lambda done, read: bar.update(
        task, completed=done, description=f"{read} records read"
      ),
    )
  typer.echo(f"read {summary.read} = written {summary.written} + quarantined {summary.quarantined}")
  for reason in summary.reasons:
    typer.echo(f"  quarantined: {reason}", err=True)
  if not summary.written:
    raise ValueError(f"{source}: no record can be used; see {os.path.join(out, QUARANTINE_NAME)}")
