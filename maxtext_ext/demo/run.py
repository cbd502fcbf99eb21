"""The demo: speech is made (or taken from the user), converted, trained on, decoded, scored.

Training and decoding run as the commands that a user would type; they are printed.
"""

import json
import pathlib
import shutil
import time
from dataclasses import dataclass

from rich.console import Console

from maxtext_ext.demo.command import run_command
from maxtext_ext.demo.corpus import synthesize
from maxtext_ext.demo.own_data import split_lines
from maxtext_ext.evaluate.run import evaluate
from maxtext_ext.records.convert import ConvertOptions, convert
from maxtext_ext.records.reader import RecordSource, find_shards
from maxtext_ext.records.schema import decode_example
from maxtext_ext.text.tokenizer import train_char_tokenizer

CONFIG = "configs/experiments/demo.yml"
DEFAULT_OUT = "out/demo"
SPLITS = ("train", "validation", "test")
MARKER = ".maxtext_ext_demo"  # in a folder that the demo made and may therefore empty
VOCABULARY_MULTIPLE = 64
# Recordings of any length and language, where the configuration is made for one-second commands.
OWN_DATA_KEYS = (
  "max_target_length=1024",
  "windows_per_row=0",
  "per_device_batch_size=1",
  "max_seconds=30",
  "curriculum=[]",
  "max_new_tokens=400",
)


@dataclass(frozen=True, kw_only=True)
class DemoResult:
  """What the demo ended with; rates are fractions."""

  report: str
  wer: float
  untrained_wer: float
  seconds: float


def main(
  out: str = DEFAULT_OUT,
  data: str | None = None,
  *,
  clips: tuple[int, int, int] = (9000, 200, 450),
  overrides: tuple[str, ...] = (),
) -> DemoResult:
  """Runs the demo and writes `{out}/report.html` and `{out}/report.json`.

  Args:
    out: a folder of the demo's own; what an earlier demo left there is removed.
    data: a JSONL file of lines {"audio": path, "text": ...} instead of synthetic speech.
    clips: synthetic clips of train, validation and test.
    overrides: `key=value` for the configuration.

  Raises:
    ValueError: for data that cannot be used, or a folder that is not the demo's.
  """
  started = time.monotonic()
  console = Console(stderr=True)
  folder = _fresh(pathlib.Path(out))
  facts: dict[str, str | float] = {}
  with console.status("synthesising speech" if data is None else "reading your recordings"):
    if data is None:
      corpus = synthesize(folder / "tfrecord", **dict(zip(SPLITS, clips, strict=True)))
      sources = {split: str(folder / "tfrecord" / f"{split}-*.tfrecord") for split in SPLITS}
      facts["test texts seen in training, spoken by other voices"] = f"{corpus.seen_test_share:.0%}"
    else:
      split_lines(data, folder / "jsonl")
      sources = {split: str(folder / "jsonl" / f"{split}.jsonl") for split in SPLITS}
  source_format = "tfrecord" if data is None else "jsonl"
  for split, source in sources.items():
    with console.status(f"converting {split}"):
      # Whatever the share of bad recordings: the demo goes on with the others, and tells the count.
      options = ConvertOptions(
        source_format=source_format, splits=(split,), audio="pcm16", max_bad_fraction=1.0
      )
      summary = convert(source, str(folder / "data"), options)
    console.print(
      f"{split}: read {summary.read} = written {summary.written}"
      f" + quarantined {summary.quarantined}, {summary.seconds:.0f} s of audio"
    )
    facts[f"{split}"] = f"{summary.written} clips, {summary.seconds / 60:.1f} min of audio"

  vocab_size = _make_tokenizer(folder)
  keys = [
    f"data_dir={folder / 'data'}",
    f"tokenizer_path={folder / 'tokenizer'}",
    f"base_output_directory={folder / 'runs'}",
  ]
  if data is None and out == DEFAULT_OUT:
    keys = []  # what the configuration says
  if data is not None:
    keys += [f"vocab_size={vocab_size}", *OWN_DATA_KEYS]
  settings = dict(key.split("=", 1) for key in [*keys, *overrides])  # the later ones win

  run = folder / "runs" / pathlib.Path(CONFIG).stem
  untrained, trained = run / "decoded" / "untrained", run / "decoded" / "test"
  first = {"decode_checkpoint": "untrained", "output": str(untrained)}
  run_command(console, "decode", CONFIG, settings | first)
  train_began = time.monotonic()
  run_command(console, "train", CONFIG, settings)
  facts["training, seconds"] = round(time.monotonic() - train_began)
  run_command(console, "decode", CONFIG, settings)

  report = folder / "report.html"
  facts["seconds"] = round(time.monotonic() - started, 1)
  scores = evaluate(
    trained,
    report=report,
    metrics=run / "metrics.jsonl",
    baseline=untrained,
    title="Demo: a tiny Qwen3-ASR from random weights",
    extra=facts,
  )
  written = json.loads(report.with_suffix(".json").read_text(encoding="utf-8"))
  console.print(f"report: {report}")
  return DemoResult(
    report=str(report),
    wer=scores.overall.wer,
    untrained_wer=written["untrained_wer"],
    seconds=facts["seconds"],
  )


def _fresh(folder: pathlib.Path) -> pathlib.Path:
  """An empty folder of the demo's own."""
  marker = folder / MARKER
  if folder.exists() and any(folder.iterdir()):
    if not marker.exists():
      raise ValueError(f"{folder} holds files that are not the demo's; choose another with --out")
    shutil.rmtree(folder)
  folder.mkdir(parents=True, exist_ok=True)
  marker.touch()
  return folder


def _make_tokenizer(folder: pathlib.Path) -> int:
  """Writes a character tokenizer of the training texts; returns a round vocabulary size."""
  source = RecordSource(find_shards(str(folder / "data"), "train"))
  records = [decode_example(source[i]) for i in range(len(source))]
  languages = {record.language for record in records if record.language}
  tokenizer = train_char_tokenizer(
    (record.text for record in records), folder / "tokenizer", languages
  )
  return -(-tokenizer.vocab_size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE
