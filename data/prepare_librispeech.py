"""Prepares LibriSpeech; see maxtext_ext/prepare/librispeech.py.

python data/prepare_librispeech.py data/librispeech --source FOLDER --only dev-clean
"""

from typing import Annotated, Literal

import typer

from maxtext_ext.errors import exit_with_one_line
from maxtext_ext.prepare import command, librispeech
from maxtext_ext.prepare.prepare import PrepareOptions


@exit_with_one_line
def main(
  out: Annotated[
    str, typer.Argument(help="Folder for the folder librispeech of shards, local or gs://.")
  ],
  source: Annotated[
    str,
    typer.Option(
      help="A folder with the archives of openslr.org/12, or parquet files: a folder or a hub id."
    ),
  ] = librispeech.SOURCE.hub,
  only: Annotated[
    list[str] | None,
    typer.Option(metavar="SUBSET", help="This subset alone, as dev-clean; may be repeated."),
  ] = None,
  jsonl: Annotated[
    str | None,
    typer.Option(help="Folder for JSON lines and 16 kHz WAV files, as qwen3_asr_sft.py reads."),
  ] = None,
  audio: Annotated[
    Literal["keep", "pcm16", "flac"],
    typer.Option(help="keep writes float samples; pcm16 takes half of that, flac a quarter."),
  ] = "pcm16",
  workers: Annotated[int, typer.Option(help="Processes.")] = 1,
  min_seconds: Annotated[float, typer.Option(help="Leave out what is shorter.")] = 0.5,
  max_seconds: Annotated[
    float, typer.Option(help="Leave out what is longer; the longest clip has 35.2 s.")
  ] = librispeech.MAX_SECONDS,
  max_bad_fraction: Annotated[
    float, typer.Option(help="Stop where a larger share of the records is bad.")
  ] = 0.01,
  overwrite: Annotated[
    bool, typer.Option("--overwrite", help="Replace what OUT holds, as when data was added.")
  ] = False,
) -> None:
  """LibriSpeech as ArrayRecord shards: its subsets, compared with the published counts."""
  command.run(
    [(command.choose_parts(librispeech.SOURCE, only or ()), source)],
    out,
    PrepareOptions(
      min_seconds=min_seconds,
      max_seconds=max_seconds,
      audio=audio,
      workers=workers,
      max_bad_fraction=max_bad_fraction,
      overwrite=overwrite,
    ),
    jsonl=jsonl,
    lines=librispeech.experiment_lines,
  )


if __name__ == "__main__":
  app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})
  app.command()(main)
  app()
