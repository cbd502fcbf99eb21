"""Command `maxtext-ext evaluate`: parses options, loads modules, calls them."""

from typing import Annotated, Literal

import typer

from maxtext_ext.text.normalize import BOARD_NORMALIZERS, NORMALIZERS

_SCORING, _COMPARISON, _REPORT = "Scoring", "Comparison", "Report"


def evaluate(
  decoded: Annotated[
    list[str],
    typer.Argument(
      metavar="DECODED",
      help="Output of decode: folders, or files of them; several are scored together.",
    ),
  ],
  normalizer: Annotated[
    str,
    typer.Option(
      help=f"Applied to both sides before scoring: {', '.join(NORMALIZERS)};"
      f" as boards: {', '.join(BOARD_NORMALIZERS)};"
      " auto: the normalizer of the run, else of the language.",
      rich_help_panel=_SCORING,
    ),
  ] = "auto",
  protocol: Annotated[
    Literal["open-asr", "ivrit", "elm-arabic"] | None,
    typer.Option(
      help="Score as this public board does, with its normalizer and alignment; DECODED may be its"
      " manifests.",
      rich_help_panel=_SCORING,
    ),
  ] = None,
  by: Annotated[
    list[str] | None,
    typer.Option(
      metavar="FIELD",
      help="Score the groups of a field of the lines too, besides dataset, language and duration;"
      " can be repeated.",
      rich_help_panel=_SCORING,
    ),
  ] = None,
  alignment: Annotated[
    Literal["levenshtein", "kaldi", "compounds", "sclite"],
    typer.Option(
      help="How edits of words are counted: as jiwer, kaldialign, kaldialign with merged compounds,"
      " or sclite.",
      rich_help_panel=_SCORING,
    ),
  ] = "levenshtein",
  block: Annotated[
    str,
    typer.Option(
      metavar="FIELD",
      help="What intervals draw together: a field of the lines, or clip; auto: speaker, else"
      " recording, else session, else clip.",
      rich_help_panel=_SCORING,
    ),
  ] = "auto",
  resamples: Annotated[
    int, typer.Option(min=1, help="Resamples of an interval.", rich_help_panel=_SCORING)
  ] = 1000,
  seed: Annotated[int, typer.Option(min=0, help="Of the resamples.", rich_help_panel=_SCORING)] = 0,
  compare: Annotated[
    list[str] | None,
    typer.Option(
      metavar="OTHER",
      help="Hypotheses of another system for the same clips: difference with interval, probability"
      " of improvement and MAPSSWE test; can be repeated.",
      rich_help_panel=_COMPARISON,
    ),
  ] = None,
  baseline: Annotated[
    str | None,
    typer.Option(help="Output of decode for the untrained model.", rich_help_panel=_COMPARISON),
  ] = None,
  report: Annotated[
    str | None,
    typer.Option(
      help="HTML report to write, local or gs://; its figures go beside it as .json and .md.",
      rich_help_panel=_REPORT,
    ),
  ] = None,
  metrics: Annotated[
    str | None,
    typer.Option(
      help="metrics.jsonl of the training run, for its curves.", rich_help_panel=_REPORT
    ),
  ] = None,
  audio: Annotated[
    str | None,
    typer.Option(
      help="Folder of records or sound files, for players of the worst clips; without it, files"
      " that the lines name.",
      rich_help_panel=_REPORT,
    ),
  ] = None,
  manifests: Annotated[
    str | None,
    typer.Option(
      help="Folder to write the hypotheses to, as files of the protocol's board.",
      rich_help_panel=_REPORT,
    ),
  ] = None,
) -> None:
  """Compute error rates with intervals, and compare systems.

  Word, character and mixed error rates by dataset, language and duration; loops, empty and cut
  transcripts, words on silence, code-switched words and calibration where the lines allow it.

  [bold]maxtext-ext evaluate out/runs/a/decoded/test --compare out/runs/b/decoded/test --report
  out/report.html[/bold]
  """
  from maxtext_ext.evaluate import evaluate as engine
  from maxtext_ext.evaluate.wer import Method

  engine.evaluate(
    decoded,
    report=report,
    normalizer=normalizer,
    metrics=metrics,
    baseline=baseline,
    method=Method(
      alignment=alignment, by=tuple(by or ()), block=block, replicates=resamples, seed=seed
    ),
    protocol=protocol,
    manifests=manifests,
    compare_with=compare or (),
    audio=audio,
  )
