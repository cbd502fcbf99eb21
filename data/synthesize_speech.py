"""Synthesises the demo's speech corpus as TFRecord shards; see maxtext_ext/demo/corpus.py."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from maxtext_ext.demo import corpus


def main(
  out_dir: Annotated[Path, typer.Argument(help="Directory for the shards.")],
  train: Annotated[int, typer.Option(help="Clips to train on.")] = 9000,
  validation: Annotated[int, typer.Option(help="Clips for validation.")] = 200,
  test: Annotated[int, typer.Option(help="Clips for the test.")] = 450,
  seed: Annotated[int, typer.Option(help="Seed of every choice.")] = 1,
  shards: Annotated[int, typer.Option(help="Files of the training split.")] = 8,
  workers: Annotated[int | None, typer.Option(help="Processes; one a core by default.")] = None,
) -> None:
  """Synthesises short English, Arabic and Hebrew phrases with espeak-ng."""
  with Progress() as bar:
    task = bar.add_task("synthesising")
    try:
      summary = corpus.synthesize(
        out_dir,
        train=train,
        validation=validation,
        test=test,
        seed=seed,
        shards=shards,
        workers=workers,
        progress=lambda done, total: bar.update(task, completed=done, total=total),
      )
    except ValueError as error:
      raise SystemExit(f"error: {error}") from error
  for split, count in summary.counts.items():
    print(f"{split}: {count} clips, {summary.seconds[split] / 60:.1f} minutes")
  print(f"test texts that also occur in training: {summary.seen_test_share:.0%}")


if __name__ == "__main__":
  app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})
  app.command()(main)
  app()
