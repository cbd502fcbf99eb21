#!/usr/bin/env python3
"""Benchmarks an OpenAI-compatible speech recognition server; see maxtext_ext/server_benchmark.

python tools/benchmark_server.py corpora/eval-d1 --server http://HOST:8000/v1 --language he

The main case is Qwen3-ASR behind vLLM. The same command continues after an interruption.
"""

import os
from typing import Annotated, Literal

import typer

from maxtext_ext.errors import exit_with_one_line
from maxtext_ext.server_benchmark.benchmark import BenchmarkOptions, run_benchmark
from maxtext_ext.server_benchmark.client import Patience
from maxtext_ext.server_benchmark.data import DataOptions

_SERVER, _DATA, _REPORT = "Server", "Data", "Report"


@exit_with_one_line
def main(
  data: Annotated[
    list[str],
    typer.Argument(
      help="Data sets: ArrayRecord shards, or what `maxtext-ext data convert` reads, such as a"
      " folder of parquet files; local, gs:// or an id of the hub."
    ),
  ],
  server: Annotated[
    str, typer.Option(help="URL, such as http://HOST:8000/v1.", rich_help_panel=_SERVER)
  ],
  model: Annotated[
    str | None,
    typer.Option(help="Its name at the server; default: the only one.", rich_help_panel=_SERVER),
  ] = None,
  api: Annotated[
    Literal["transcriptions", "chat"],
    typer.Option(
      help="/audio/transcriptions, or /chat/completions with the audio in the message.",
      rich_help_panel=_SERVER,
    ),
  ] = "transcriptions",
  concurrency: Annotated[
    int, typer.Option(min=1, help="Clips at the server at a time.", rich_help_panel=_SERVER)
  ] = 16,
  timeout: Annotated[
    float, typer.Option(min=0.001, help="Seconds for an answer.", rich_help_panel=_SERVER)
  ] = 120.0,
  attempts: Annotated[
    int,
    typer.Option(
      min=1,
      help="Requests for a clip while the server is busy, fails or drops the connection.",
      rich_help_panel=_SERVER,
    ),
  ] = 4,
  prompt: Annotated[
    str,
    typer.Option(
      help="Context such as names: the field prompt, or the system message of a chat.",
      rich_help_panel=_SERVER,
    ),
  ] = "",
  instruction: Annotated[
    str,
    typer.Option(
      help="Text beside the audio of a chat, for models with several tasks.",
      rich_help_panel=_SERVER,
    ),
  ] = "",
  force_language: Annotated[
    bool,
    typer.Option(
      "--force-language",
      help="Tell the server the language of each record.",
      rich_help_panel=_SERVER,
    ),
  ] = False,
  max_tokens: Annotated[
    int | None, typer.Option(min=1, help="Longest answer.", rich_help_panel=_SERVER)
  ] = None,
  max_samples: Annotated[
    int | None,
    typer.Option(
      min=1,
      help="A random sample of so many records of each data set; can be raised later.",
      rich_help_panel=_DATA,
    ),
  ] = None,
  seed: Annotated[
    int,
    typer.Option(min=-1, help="Of the sample; -1: the first records.", rich_help_panel=_DATA),
  ] = 0,
  split: Annotated[
    str,
    typer.Option(
      help="In a folder, selects the shards or files named after it.", rich_help_panel=_DATA
    ),
  ] = "test",
  source_format: Annotated[
    str,
    typer.Option(
      "--from",
      help="Format of the data, as of `maxtext-ext data convert`.",
      rich_help_panel=_DATA,
    ),
  ] = "auto",
  language: Annotated[
    str | None,
    typer.Option(
      help="Language of records that do not state theirs: Hebrew, he or heb.",
      rich_help_panel=_DATA,
    ),
  ] = None,
  text_key: Annotated[
    str | None, typer.Option(help="Column or key of the text.", rich_help_panel=_DATA)
  ] = None,
  audio_key: Annotated[
    str | None, typer.Option(help="Column or key of the audio.", rich_help_panel=_DATA)
  ] = None,
  id_key: Annotated[
    str | None, typer.Option(help="Column or key of the id.", rich_help_panel=_DATA)
  ] = None,
  out: Annotated[
    str, typer.Option(help="Folder of the answers.", rich_help_panel=_REPORT)
  ] = "out/benchmark_server",
  report: Annotated[
    str | None,
    typer.Option(help="HTML report to write; default: OUT/report.html.", rich_help_panel=_REPORT),
  ] = None,
  normalizer: Annotated[
    str, typer.Option(help="As of `maxtext-ext evaluate`.", rich_help_panel=_REPORT)
  ] = "auto",
) -> None:
  """Benchmark a speech recognition server: error rates, latency, RTFx and failures.

  Each answer is kept; the same command continues and asks again for clips that failed. A key goes
  into the environment as OPENAI_API_KEY.
  """
  options = BenchmarkOptions(
    server=server,
    model=model,
    api=api,
    prompt=prompt,
    instruction=instruction,
    max_tokens=max_tokens,
    force_language=force_language,
    concurrency=concurrency,
    data=DataOptions(
      split=split,
      source_format=source_format,
      audio_key=audio_key,
      text_key=text_key,
      id_key=id_key,
      language=language,
    ),
    seed=None if seed < 0 else seed,
    max_samples=max_samples,
    patience=Patience(timeout=timeout, attempts=attempts),
    key=os.environ.get("OPENAI_API_KEY", "").strip(),
  )
  try:
    run_benchmark(data, out, options, normalizer=normalizer, report=report)
  except KeyboardInterrupt:
    typer.echo(f"interrupted; the answers are in {out}, the same command continues", err=True)
    raise


if __name__ == "__main__":
  app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})
  app.command()(main)
  app()
