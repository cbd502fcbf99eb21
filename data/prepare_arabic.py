"""Prepares the Arabic training data; see maxtext_ext/prepare/arabic.py.

python data/prepare_arabic.py data/arabic --source fleurs=PATH_OR_ID --only fleurs --only sada22
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import typer

from maxtext_ext.errors import exit_with_one_line
from maxtext_ext.prepare import arabic, command
from maxtext_ext.prepare.prepare import PrepareOptions

_NAMES = ", ".join(source.name for source in arabic.SOURCES)


@exit_with_one_line
def main(
  out: Annotated[str, typer.Argument(help="Folder for the shards, local or gs://.")],
  source: Annotated[
    list[str] | None,
    typer.Option(
      metavar="NAME=PATH_OR_ID",
      help=f"Where a source is, if not on the hub under its own id: {_NAMES}.",
    ),
  ] = None,
  only: Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="This source alone; may be repeated.")
  ] = None,
  text_column: Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=COLUMN", help="Another column of text: sada22=cleaned_text"),
  ] = None,
  audio_column: Annotated[
    list[str] | None, typer.Option(metavar="NAME=COLUMN", help="Likewise.")
  ] = None,
  id_column: Annotated[
    list[str] | None, typer.Option(metavar="NAME=COLUMN", help="Likewise.")
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
  """The seven Arabic sources as ArrayRecord shards, 55 of them to train on."""
  columns = {"text_key": text_column, "audio_key": audio_column, "id_key": id_column}
  changed = [
    command.with_columns(
      each,
      {
        key: pairs[each.name]
        for key, given in columns.items()
        if each.name in (pairs := _pairs(given))
      },
    )
    for each in arabic.SOURCES
  ]
  command.run(
    command.choose(changed, _pairs(source), only or ()),
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


def _pairs(given: Sequence[str] | None) -> dict[str, str]:
  """NAME=VALUE by name."""
  pairs = {}
  for pair in given or ():
    name, mark, value = pair.partition("=")
    if not mark or not value or name not in _NAMES.split(", "):
      raise ValueError(f"'{pair}' is not NAME=VALUE with a NAME of {_NAMES}")
    pairs[name] = value
  return pairs


if __name__ == "__main__":
  app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})
  app.command()(main)
  app()
