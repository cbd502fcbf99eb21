"""Demo: synthesizes speech (or takes the user's), converts, trains, decodes and scores.

Training and decoding run as the commands that a user would type; they are printed.
"""

import json
import pathlib
import shutil
import time
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from maxtext_ext.conversion.convert import ConvertOptions, convert
from maxtext_ext.demo.command import run_command
from maxtext_ext.demo.corpus import synthesize
from maxtext_ext.demo.families import FAMILIES, SPLITS, DemoFamily, records_of
from maxtext_ext.demo.own_data import split_lines
from maxtext_ext.evaluate.evaluate import evaluate
from maxtext_ext.files.outputs import require_outside
from maxtext_ext.pages.duration import format_duration
from maxtext_ext.text.vocabulary import Vocabulary

MARKER = ".maxtext_ext_demo"  # in a folder that the demo made and may therefore empty


@dataclass(frozen=True, kw_only=True)
class DemoResult:
  """Results of the demo; rates are fractions."""

  report: str
  wer: float
  untrained_wer: float
  seconds: float


def main(
  out: str = "",
  data: str | None = None,
  *,
  model: str = "qwen3_asr",
  clips: tuple[int, int, int] = (9000, 200, 450),
  overrides: tuple[str, ...] = (),
) -> DemoResult:
  """Runs the demo and writes `{out}/report.html` and `{out}/report.json`.

  Args:
    out: a folder of the demo's own, by default that of the model's configuration; what an earlier
      demo left there is removed.
    data: a JSONL file of lines {"audio": path, "text": ...} instead of synthetic speech.
    model: the family that is trained, a key of `families.FAMILIES`.
    clips: synthetic clips of train, validation and test.
    overrides: `key=value` for the configuration.

  Raises:
    ValueError: for an unknown model, data that cannot be used, or a folder that is not the demo's.
  """
  started = time.monotonic()
  console = Console(stderr=True)
  if model not in FAMILIES:
    raise ValueError(f"model {model!r}, expected one of {', '.join(FAMILIES)}")
  family = FAMILIES[model]
  out = out or family.out
  if data is not None:
    require_outside(data, out)
  folder = _fresh(pathlib.Path(out))
  facts: dict[str, str | float] = {}
  with console.status("synthesising speech" if data is None else "reading your recordings"):
    if data is None:
      counts: dict[str, Any] = dict(zip(SPLITS, clips, strict=True))
      corpus = synthesize(folder / "tfrecord", **counts)
      sources = {split: str(folder / "tfrecord" / f"{split}-*.tfrecord") for split in SPLITS}
      facts["test texts seen in training, spoken by other voices"] = f"{corpus.seen_test_share:.0%}"
    else:
      facts["splits"] = str(split_lines(data, folder / "jsonl"))
      sources = {split: str(folder / "jsonl" / f"{split}.jsonl") for split in SPLITS}
  source_format = "tfrecord" if data is None else "jsonl"
  for split, source in sources.items():
    with console.status(f"converting {split}"):
      # Whatever the share of bad recordings, the demo continues with the others and prints it.
      options = ConvertOptions(
        source_format=source_format, splits=(split,), audio="pcm16", max_bad_fraction=1.0
      )
      summary = convert(source, str(folder / "data"), options)
    console.print(
      f"{split}: read {summary.read} = written {summary.written}"
      f" + quarantined {summary.quarantined}, {format_duration(summary.seconds)} of audio"
    )
    if not summary.written:
      raise ValueError(f"{source}: none of {summary.read} can be used: {summary.reasons[0]}")
    facts[split] = f"{summary.written} clips, {format_duration(summary.seconds)} of audio"

  vocabulary = write_vocabulary(family, folder)
  keys = [
    f"data_dir={folder / 'data'}",
    f"tokenizer_path={folder / 'tokenizer'}",
    f"base_output_directory={folder / 'runs'}",
  ]
  if data is None and out == family.out:
    keys = []  # what the configuration says
  if data is not None:
    keys += family.own_data_keys(str(folder / "data"), vocabulary)
  settings = dict(key.split("=", 1) for key in [*keys, *overrides])  # the later ones win

  run = folder / "runs" / pathlib.Path(family.config).stem
  untrained, trained = run / "decoded" / "untrained", run / "decoded" / "test"
  first = {"decode_checkpoint": "untrained", "output": str(untrained)}
  run_command(console, "decode", family.config, settings | first)
  train_began = time.monotonic()
  run_command(console, "train", family.config, settings)
  facts["training, seconds"] = round(time.monotonic() - train_began)
  run_command(console, "decode", family.config, settings)

  report = folder / "report.html"
  seconds = round(time.monotonic() - started, 1)
  facts["seconds"] = seconds
  scores = evaluate(
    trained,
    report=report,
    metrics=run / "metrics.jsonl",
    baseline=untrained,
    title=f"Demo: {family.title}",
    extra=facts,
    audio=folder / "data",
  )
  written = json.loads(report.with_suffix(".json").read_text(encoding="utf-8"))
  console.print(f"report: {report}")
  return DemoResult(
    report=str(report),
    wer=scores.overall.wer,
    untrained_wer=written["untrained_wer"],
    seconds=seconds,
  )


def _fresh(folder: pathlib.Path) -> pathlib.Path:
  """Empties or creates the demo's own folder."""
  marker = folder / MARKER
  if folder.exists() and any(folder.iterdir()):
    if not marker.exists():
      raise ValueError(f"{folder} holds files that are not the demo's; choose another with --out")
    shutil.rmtree(folder)
  folder.mkdir(parents=True, exist_ok=True)
  marker.touch()
  return folder


def write_vocabulary(family: DemoFamily, folder: pathlib.Path) -> Vocabulary:
  """Writes the vocabulary of the training texts into the demo's folder."""
  texts: set[str] = set()
  languages: set[str] = set()
  for record in records_of(str(folder / "data"), "train"):
    texts.add(record.text)
    languages |= {record.language} if record.language else set()
  return family.write_vocabulary(texts, folder / "tokenizer", languages)
