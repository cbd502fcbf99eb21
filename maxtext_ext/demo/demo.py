"""Demo: synthesizes speech (or takes the user's), converts, trains, decodes and scores.

Training and decoding run as the commands that a user would type; they are printed.
"""

import json
import math
import pathlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from maxtext_ext.conversion.convert import ConvertOptions, convert
from maxtext_ext.demo.command import run_command
from maxtext_ext.demo.corpus import synthesize
from maxtext_ext.demo.own_data import split_lines
from maxtext_ext.evaluate.evaluate import evaluate
from maxtext_ext.files.outputs import require_outside
from maxtext_ext.input.utterance import build_utterance
from maxtext_ext.pages.duration import format_duration
from maxtext_ext.records.reader import RecordSource, find_shards
from maxtext_ext.records.schema import Record, decode_example
from maxtext_ext.text.tokenizer import Tokenizer, train_char_tokenizer

CONFIG = "configs/experiments/demo.yml"
DEFAULT_OUT = "out/demo"
SPLITS = ("train", "validation", "test")
MARKER = ".maxtext_ext_demo"  # in a folder that the demo made and may therefore empty
VOCABULARY_MULTIPLE = 64
ROW_TOKENS = 1024  # of a row of the user's own data
EPOCHS = 8  # passes over it, within STEPS
STEPS = (600, 3600)
EVALUATIONS = 15  # of a run
PATIENCE = 5  # evaluations without a lower word error rate: a third of the run


@dataclass(frozen=True, kw_only=True)
class DemoResult:
  """Results of the demo; rates are fractions."""

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

  tokenizer = _make_tokenizer(folder)
  keys = [
    f"data_dir={folder / 'data'}",
    f"tokenizer_path={folder / 'tokenizer'}",
    f"base_output_directory={folder / 'runs'}",
  ]
  if data is None and out == DEFAULT_OUT:
    keys = []  # what the configuration says
  if data is not None:
    keys += own_data_keys(str(folder / "data"), tokenizer)
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
  seconds = round(time.monotonic() - started, 1)
  facts["seconds"] = seconds
  scores = evaluate(
    trained,
    report=report,
    metrics=run / "metrics.jsonl",
    baseline=untrained,
    title="Demo: a tiny Qwen3-ASR from random weights",
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


def own_data_keys(data_dir: str, tokenizer: Tokenizer) -> list[str]:
  """`key=value` strings for recordings of any length, number and language.

  The configuration is made for thousands of one-second commands. Here the steps follow from the
  amount of data, and training stops when the evaluations no longer improve.
  """
  from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY  # with JAX, which --help can spare

  tokens, longest = 0, 0
  for split in SPLITS:
    for record in _records(data_dir, split):
      clip = build_utterance(record, tokenizer, geometry=GEOMETRY, language_in_prompt=True)
      longest = max(longest, len(clip.target))
      tokens += clip.tokens if split == "train" else 0
  steps = steps_for(tokens)
  interval = steps // EVALUATIONS
  return [
    f"vocab_size={-(-tokenizer.vocab_size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE}",
    f"max_target_length={ROW_TOKENS}",
    "windows_per_row=0",
    "per_device_batch_size=1",
    "max_seconds=30",
    "curriculum=[]",
    f"max_new_tokens={longest + longest // 4}",
    f"steps={steps}",
    f"checkpoint_period={PATIENCE * interval}",
    f"eval_interval={interval}",
    "eval_clips=50",
    f"early_stopping_patience={PATIENCE}",
  ]


def steps_for(tokens: int) -> int:
  """Returns the steps of a run for a number of training tokens."""
  least, most = STEPS
  return min(max(math.ceil(EPOCHS * tokens / ROW_TOKENS), least), most)


def _records(data_dir: str, split: str) -> Iterator[Record]:
  source = RecordSource(find_shards(data_dir, split))
  return (decode_example(source[index]) for index in range(len(source)))


def _make_tokenizer(folder: pathlib.Path) -> Tokenizer:
  """Writes a character tokenizer of the training texts."""
  texts: set[str] = set()
  languages: set[str] = set()
  for record in _records(str(folder / "data"), "train"):
    texts.add(record.text)
    languages |= {record.language} if record.language else set()
  return train_char_tokenizer(texts, folder / "tokenizer", languages)
