"""Prepares the Hebrew training data; see maxtext_ext/prepare/hebrew.py.

python data/prepare_hebrew.py data/hebrew --crowd-transcribe PATH_OR_ID --crowd-recital PATH_OR_ID
"""

from typing import Annotated, Literal

import typer

from maxtext_ext.errors import exit_with_one_line
from maxtext_ext.prepare import command, hebrew
from maxtext_ext.prepare.prepare import PrepareOptions


@exit_with_one_line
def main(
  out: Annotated[str, typer.Argument(help="Folder for the shards, local or gs://.")],
  crowd_transcribe: Annotated[
    str, typer.Option(help="Parquet files: a folder, a glob, or an id of the hub.")
  ] = hebrew.SOURCES[0].hub,
  crowd_recital: Annotated[str, typer.Option(help="Likewise.")] = hebrew.SOURCES[1].hub,
  only: Annotated[
    list[str] | None, typer.Option(help="This source alone; may be repeated.")
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
  max_seconds: Annotated[float, typer.Option(help="Leave out what is longer.")] = 30.0,
  max_bad_fraction: Annotated[
    float, typer.Option(help="Stop where a larger share of the records is bad.")
  ] = 0.01,
  overwrite: Annotated[
    bool, typer.Option("--overwrite", help="Replace what OUT holds, as when data was added.")
  ] = False,
) -> None:
  """Crowd-transcribed and read Hebrew as ArrayRecord shards: 95% train, 5% validation."""
  places = {"crowd-transcribe": crowd_transcribe, "crowd-recital": crowd_recital}
  command.run(
    command.choose(hebrew.SOURCES, places, only or ()),
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
