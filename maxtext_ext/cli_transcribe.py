"""Command `maxtext-ext transcribe`: parses options, loads modules, calls them."""

from typing import Annotated, Literal

import typer


def transcribe(
  model: Annotated[
    str, typer.Argument(metavar="MODEL", help="A converted checkpoint, or the folder of a run.")
  ],
  files: Annotated[
    list[str],
    typer.Argument(
      metavar="FILE... [KEY=VALUE]...",
      help="Sound files of up to 10 hours each, and keys such as max_new_tokens=1024.",
    ),
  ],
  output: Annotated[
    str | None,
    typer.Option(
      help="A .txt, .json, .srt or .vtt file; for several recordings a folder. Default: print."
    ),
  ] = None,
  kind: Annotated[
    Literal["txt", "json", "srt", "vtt"] | None,
    typer.Option("--format", help="Default: that of the output's name, else txt."),
  ] = None,
  language: Annotated[
    str | None,
    typer.Option(help="Name or code, such as Hebrew or he; default: the model names it."),
  ] = None,
  context: Annotated[
    str | None, typer.Option(help="Text that helps, such as names to expect.")
  ] = None,
  piece_seconds: Annotated[
    float, typer.Option(help="Longest piece that is decoded at once, 1 to 1200 s.")
  ] = 30.0,
  vad: Annotated[
    bool, typer.Option("--vad", help="Detect speech first, and cut in pauses; needs the extra vad.")
  ] = False,
) -> None:
  """Transcribe recordings of any length to text, JSON or subtitles."""
  from maxtext_ext import preflight
  from maxtext_ext.keys.words import split_words

  preflight.require_folder(model)
  files, overrides = split_words(files)
  preflight.require_recordings(files)
  from maxtext_ext.transcribe_files import transcribe_files

  transcribe_files(
    model,
    files,
    overrides=overrides,
    echo=lambda text: typer.echo(text, nl=False),
    output=output,
    kind=kind,
    language=language,
    context=context,
    piece_seconds=piece_seconds,
    vad=vad,
  )
