"""Prepares GigaSpeech; see maxtext_ext/prepare/gigaspeech.py.

python data/prepare_gigaspeech.py data/gigaspeech --subset xs --source FOLDER
"""

from typing import Annotated, Literal

import typer

from maxtext_ext.errors import exit_with_one_line
from maxtext_ext.prepare import command, gigaspeech
from maxtext_ext.prepare.prepare import PrepareOptions


@exit_with_one_line
def main(
  out: Annotated[
    str, typer.Argument(help="Folder for the folder of the subset's shards, local or gs://.")
  ],
  subset: Annotated[
    Literal["xs", "s", "m", "l", "xl"],
    typer.Option(help="10, 250, 1000, 2500 or 10,000 hours to train on; each holds the smaller."),
  ] = "xs",
  source: Annotated[
    str,
    typer.Option(
      help="A folder with parquet files, with the archives of the hub or with GigaSpeech.json, "
      "or an id of the hub."
    ),
  ] = gigaspeech.HUB,
  only: Annotated[
    list[str] | None,
    typer.Option(metavar="SPLIT", help="train, validation or test alone; may be repeated."),
  ] = None,
  punctuation: Annotated[
    bool,
    typer.Option("--punctuation", help="Write the four marks , . ? ! instead of removing them."),
  ] = False,
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
  max_seconds: Annotated[float, typer.Option(help="Leave out what is longer.")] = 30.0,
  max_bad_fraction: Annotated[
    float, typer.Option(help="Stop where a larger share of the records is bad.")
  ] = 0.01,
  overwrite: Annotated[
    bool, typer.Option("--overwrite", help="Replace what OUT holds, as when data was added.")
  ] = False,
) -> None:
  """GigaSpeech as ArrayRecord shards, without its marks and its utterances without speech."""
  chosen = gigaspeech.source_of(subset, punctuation=punctuation)
  command.run(
    [(command.choose_parts(chosen, only or ()), source)],
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
  )


if __name__ == "__main__":
  app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})
  app.command()(main)
  app()
