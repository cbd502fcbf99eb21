"""Commands `maxtext-ext data ...`: parse options, load modules, call them."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
  from maxtext_ext.conversion.convert import ConvertSummary, Progress

# The keys of records.sources.formats.SOURCES, which takes half a second to import.
SourceFormat = Literal[
  "auto",
  "tfrecord",
  "jsonl",
  "csv",
  "arrow",
  "audiofolder",
  "kaldi",
  "lhotse",
  "shar",
  "nemo",
  "tfds",
  "parquet",
  "tar",
  "librispeech",
  "gigaspeech",
  "huggingface",
]

data_app = typer.Typer(help="Convert, verify and inspect data sets.")


@data_app.callback()
def describe_data() -> None:
  """Convert, verify and inspect data sets."""


@data_app.command("convert")
def convert_data(
  source: Annotated[
    str,
    typer.Argument(help="A file, folder or glob, local or gs://; or a data set of the hub."),
  ],
  out: Annotated[str, typer.Argument(help="Folder of the ArrayRecord shards, local or gs://.")],
  beam_args: Annotated[
    list[str] | None,
    typer.Argument(metavar="[-- BEAM_OPTIONS]", help="For Beam: -- --project=p --region=r"),
  ] = None,
  source_format: Annotated[
    SourceFormat,
    typer.Option("--from", help="Format of the source; auto detects it from the files. See below."),
  ] = "auto",
  split: Annotated[
    str,
    typer.Option(help="Name of the split; in a folder, selects the files named after it."),
  ] = "train",
  audio: Annotated[
    Literal["keep", "pcm16", "flac"],
    typer.Option(help="pcm16 takes half the space of float samples, flac a quarter."),
  ] = "keep",
  workers: Annotated[int, typer.Option(help="Parallel processes, one shard each.")] = 1,
  shards: Annotated[
    int | None, typer.Option(help="Number of output shards, for sources that can be divided.")
  ] = None,
  records_per_shard: Annotated[
    int | None, typer.Option(help="Records per output shard; 1000 by default.")
  ] = None,
  language: Annotated[
    str | None,
    typer.Option(help="Language of records that do not state theirs: Hebrew, he or heb."),
  ] = None,
  dataset: Annotated[
    str | None, typer.Option(help="Corpus of records that do not state theirs.")
  ] = None,
  text_key: Annotated[str | None, typer.Option(help="Column or key of the text.")] = None,
  audio_key: Annotated[str | None, typer.Option(help="Column or key of the audio.")] = None,
  id_key: Annotated[str | None, typer.Option(help="Column or key of the id.")] = None,
  allow_urls: Annotated[
    bool, typer.Option("--allow-urls", help="Download audio that records name by http(s)://.")
  ] = False,
  max_bad_fraction: Annotated[
    float, typer.Option(help="Stop when a larger share of the records is bad.")
  ] = 0.01,
  overwrite: Annotated[
    bool, typer.Option("--overwrite", help="Start over; replaces the split's files in OUT.")
  ] = False,
  engine: Annotated[
    Literal["local", "beam"], typer.Option(help="local: this machine; beam: an Apache Beam runner.")
  ] = "local",
  runner: Annotated[
    str | None, typer.Option(help="Beam runner: DirectRunner (default) or DataflowRunner.")
  ] = None,
) -> None:
  """Convert recordings to ArrayRecord shards; resumes an interrupted conversion.

  Records that cannot be used go to quarantine.jsonl in OUT, with the reason. Correct the source and
  run the same command again: shards whose sources have changed are converted again.

  Formats of SOURCE: jsonl (manifests, NeMo's too), csv (and TSV, Common Voice), audiofolder,
  huggingface (google/fleurs:ar_eg#test), parquet, arrow (save_to_disk), kaldi, lhotse (cuts, or
  recordings and supervisions), shar, nemo (tarred), tar (WebDataset), tfrecord, tfds.
  """
  from maxtext_ext.conversion.convert import (
    QUARANTINE_NAME,
    ConvertOptions,
    TooManyBadError,
    convert,
  )
  from maxtext_ext.sources.options import SourceOptions

  if shards is not None and records_per_shard is not None:
    raise ValueError("got --shards and --records-per-shard, expected one of them; leave one out")
  explicit: dict[str, Any] = {
    "records_per_shard": records_per_shard,
    "shards": shards,
    "audio_key": audio_key,
    "text_key": text_key,
    "id_key": id_key,
    "language": language,
    "dataset_name": dataset,
    "allow_urls": allow_urls or None,
  }
  explicit = {name: value for name, value in explicit.items() if value is not None}
  options = ConvertOptions(
    source_format=source_format,
    splits=(split,),
    audio=audio,
    workers=workers,
    max_bad_fraction=max_bad_fraction,
    overwrite=overwrite,
    source=SourceOptions(**explicit),
  )
  if (beam_args or runner) and engine != "beam":
    got = " ".join([*(["--runner", runner] if runner else []), *(beam_args or [])])
    raise ValueError(f"got {got}, expected that only with --engine beam")
  try:
    if engine == "beam":
      from maxtext_ext.conversion import beam

      summary = beam.convert(
        source,
        out,
        options,
        runner=runner or "DirectRunner",
        pipeline_args=beam_args or [],
        tell=typer.echo,
      )
    else:
      with _progress_bar("converting") as show:
        summary = convert(source, out, options, progress=show, tell=typer.echo)
  except KeyboardInterrupt:
    typer.echo("interrupted; run the same command again to resume", err=True)
    raise
  except TooManyBadError as error:
    for reason in error.reasons:
      typer.echo(f"  bad: {reason}", err=True)
    raise ValueError(error.summary) from error
  _print_summary(summary, out)
  if not summary.written:
    raise ValueError(f"{source}: no record can be used; see {QUARANTINE_NAME} in {out}")


@data_app.command("verify")
def verify_data(
  path: Annotated[str, typer.Argument(help="A folder of ArrayRecord shards; local or gs://.")],
  workers: Annotated[int, typer.Option(help="Processes; a shard is the work of one.")] = 1,
) -> None:
  """Read every record and verify the files with their manifest; exit status 1 if one is bad."""
  from maxtext_ext.conversion.verify import print_report, verify

  with _progress_bar("verifying") as show:
    report = verify(path, workers=workers, progress=show)
  if not print_report(report):
    raise typer.Exit(1)


@data_app.command("inspect")
def inspect_data(
  path: Annotated[str, typer.Argument(help="A folder of ArrayRecord shards, or one of them.")],
  html: Annotated[str | None, typer.Option(help="Path of the page; default: inspect.html")] = None,
  sample: Annotated[
    int | None, typer.Option(help="Read about this many records instead of all.")
  ] = None,
  workers: Annotated[int, typer.Option(help="Parallel processes.")] = 1,
) -> None:
  """Inspect a data set: print a table, write a page with charts and audio players."""
  from maxtext_ext.corpus import inspect

  inspect.main(path, html, sample=sample, workers=workers)


@contextlib.contextmanager
def _progress_bar(action: str) -> Iterator[Callable[["Progress"], None]]:
  """Shows records, audio, speed and time left; nothing where stderr is no terminal."""
  from rich import progress
  from rich.console import Console

  console = Console(stderr=True)
  columns = (
    progress.TextColumn(action),
    progress.BarColumn(bar_width=None),
    progress.TaskProgressColumn(),
    progress.TextColumn("{task.description}"),
    progress.TimeRemainingColumn(),
  )
  started = time.monotonic()
  with progress.Progress(
    *columns, console=console, transient=True, disable=not console.is_terminal
  ) as bar:
    task: progress.TaskID | None = None
    first = 0.0  # seconds of audio that were there before

    def show(now: "Progress") -> None:
      nonlocal task, first
      if task is None:
        # The part that was done before says nothing of the speed.
        task = bar.add_task("", total=1.0)
        bar.update(task, completed=now.done_before)
        first = now.seconds
      speed = (now.seconds - first) / max(time.monotonic() - started, 1e-6)
      text = f"{now.read:,} records, {now.seconds / 3600:,.1f} h of audio, {speed:,.0f} s/s"
      bar.update(task, completed=now.done, description=text)

    yield show


def _print_summary(summary: "ConvertSummary", out: str) -> None:
  if summary.repeated:
    typer.echo(f"{out}: complete already, nothing to do")
  if summary.kept:
    typer.echo(f"kept {summary.kept} finished shards whose sources have not changed")
  left_out = sum(summary.left_out.values())
  typer.echo(
    f"read {summary.read} = written {summary.written} + quarantined {summary.quarantined}"
    + (f" + left out {left_out}" if left_out else "")
  )
  for reason, count in summary.left_out.items():
    typer.echo(f"  left out: {count} {reason}")
  for reason in summary.reasons:
    typer.echo(f"  quarantined: {reason}", err=True)
