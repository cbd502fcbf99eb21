"""Inspection of converted records: `maxtext-ext data inspect`."""

import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from maxtext_ext.corpus.issues import Finding, find
from maxtext_ext.corpus.page import write_page
from maxtext_ext.corpus.statistics import (
  Summary,
  Survey,
  Surveyor,
  by_field,
  by_group,
  merge,
  summarize,
)
from maxtext_ext.escape import printable
from maxtext_ext.files import storage
from maxtext_ext.files.outputs import require_apart
from maxtext_ext.pages.duration import format_duration
from maxtext_ext.records.manifest import SHARD_SUFFIX, list_shards, parse_shard_name
from maxtext_ext.records.quarantine import QUARANTINE_NAME, read_reasons
from maxtext_ext.records.reader import DamagedRecord, RecordSource
from maxtext_ext.records.schema import Record, RecordError, decode_example

PAGE_NAME = "inspect.html"
SEED = 0  # of the records that are looked at and listened to
_TABLE_WIDTH = 120  # where the output is no terminal
_PROGRESS_EVERY = 64  # records


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
  """ArrayRecord file; its survey refers to it by `index`.

  Attributes:
    take: number of records to read, chosen by the seed; None for all.
  """

  index: int
  path: str
  split: str
  take: int | None = None


def main(
  path: str, html: str | None = None, *, sample: int | None = None, workers: int = 1
) -> None:
  """Prints what is in a data set, and writes a page with pictures and players.

  Args:
    path: a folder of ArrayRecord shards, of any splits, or one shard; local or a URL.
    html: path of the page; inspect.html in the current folder by default.
    sample: read about so many records, equally many of each shard, instead of all.
    workers: processes that read.

  Raises:
    ValueError: there are no shards, none of the records can be read, or an argument is wrong.
  """
  page = html or PAGE_NAME
  if os.path.isdir(page):
    raise ValueError(f"{page} is a folder, expected the name of the page: {page}/{PAGE_NAME}")
  console = Console(stderr=True)
  shards = find_shards(path, sample)
  folders = sorted({os.path.dirname(shard.path) for shard in shards})
  files = [file for folder in folders for file in storage.list_folder(folder)]
  require_apart([page], [file for file in files if not file.endswith(".html")])
  reasons = [
    reason for folder in folders for reason in read_reasons(storage.join(folder, QUARANTINE_NAME))
  ]
  with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
    task = bar.add_task("reading", total=1.0)

    def show(done: float, seconds: float) -> None:
      bar.update(task, completed=done, description=f"{format_duration(seconds)} read")

    survey = survey_shards(shards, workers, show)
  if not len(survey.rows):
    raise ValueError(
      f"{path}: no record can be read, of {survey.unreadable.total()}; "
      f"the first: {(survey.problems or ('no records in the shards',))[0]}"
    )
  findings = find(survey)
  output = Console()
  if not output.is_terminal:
    output = Console(width=_TABLE_WIDTH)
  _print(output, survey, findings)
  write_page(
    page,
    path,
    survey,
    findings,
    lambda rows: read_rows(shards, survey, rows),
    reasons=reasons,
    sample=sample,
  )
  output.print(f"{page}: pictures, characters and players", soft_wrap=True, markup=False)


def find_shards(path: str, sample: int | None = None) -> list[Shard]:
  """Finds the shards at `path`: those in the folder, or else those one level below.

  Raises:
    ValueError: there are none, or `sample` is not positive.
  """
  if sample is not None and sample < 1:
    raise ValueError(f"sample is {sample}, expected a number of records, at least 1")
  if storage.is_file(path):
    files = [path]
  else:
    files = list_shards(path) or _below(path)
  shares = [None] * len(files) if sample is None else _spread(sample, len(files))
  return [
    Shard(index=index, path=file, split=_split_of(file), take=take)
    for index, (file, take) in enumerate(zip(files, shares, strict=True))
    if take != 0
  ]


def survey_shards(
  shards: Sequence[Shard],
  workers: int = 1,
  progress: Callable[[float, float], None] | None = None,
) -> Survey:
  """Reads the records of the shards once.

  Args:
    workers: processes, each of which takes a shard at a time; with 1, this process reads.
    progress: called with the share of the records done and the seconds of audio read.

  Raises:
    ValueError: `workers` is not positive.
  """
  if workers < 1:
    raise ValueError(f"workers is {workers}, expected at least 1")
  report = progress or (lambda done, seconds: None)
  if workers == 1:
    parts = []
    read = 0.0
    for number, shard in enumerate(shards):

      def show(done: float, seconds: float, number: int = number, read: float = read) -> None:
        report((number + done) / len(shards), read + seconds)

      parts.append(survey_shard(shard, show))
      read += summarize(parts[-1].rows).seconds
    return merge(parts)
  context = multiprocessing.get_context("spawn")  # gRPC and JAX threads do not survive a fork
  with concurrent.futures.ProcessPoolExecutor(workers, context) as pool:
    futures = [pool.submit(survey_shard, shard) for shard in shards]
    read = 0.0
    for number, future in enumerate(concurrent.futures.as_completed(futures), 1):
      read += summarize(future.result().rows).seconds
      report(number / len(shards), read)
    return merge([future.result() for future in futures])


def survey_shard(shard: Shard, progress: Callable[[float, float], None] | None = None) -> Survey:
  """Reads one shard; one that cannot be opened counts as one unreadable record."""
  surveyor = Surveyor(shard.index, shard.split)
  seconds = 0.0
  with contextlib.ExitStack() as stack:
    try:
      source = stack.enter_context(_open(shard.path, few=shard.take is not None))
    except ValueError as error:
      surveyor.reject(shard.path, str(error))
      return surveyor.survey()
    positions = _positions(shard, len(source))
    for number, position in enumerate(positions):
      try:
        record = decode_example(source[position])
        surveyor.add(record, position)
        seconds += record.seconds
      except RecordError as error:
        reason = error.reason if isinstance(error, DamagedRecord) else str(error)
        surveyor.reject(f"{shard.path}, record {position}", reason)
      if progress and number % _PROGRESS_EVERY == 0:
        progress(number / len(positions), seconds)
  return surveyor.survey()


def read_rows(shards: Sequence[Shard], survey: Survey, rows: Sequence[int]) -> list[Record]:
  """Reads the records of some rows of the survey, in the order of `rows`."""
  path_of = {shard.index: shard.path for shard in shards}
  places = survey.rows[list(rows)][["shard", "position"]].tolist()
  records: dict[tuple[int, int], Record] = {}
  for index in sorted({index for index, _ in places}):
    with _open(path_of[index], few=True) as source:
      for place in places:
        if place[0] == index:
          records[place] = decode_example(source[place[1]])
  return [records[place] for place in places]


@contextlib.contextmanager
def _open(path: str, *, few: bool) -> Iterator[RecordSource]:
  """Opens a shard; from one at gs:// a few records are requested one by one."""
  if few and path.startswith("gs://"):
    yield RecordSource([path])
    return
  with storage.local_copy(path) as local:
    yield RecordSource([local])


def _below(path: str) -> list[str]:
  pattern = "*" + SHARD_SUFFIX
  try:
    return storage.find_files(storage.join(path, "*", pattern), pattern)
  except ValueError as error:
    raise ValueError(
      f"{path}: no shards, expected one {pattern} file, or a folder that has some in it or one "
      "level below; check the path, or make them with `maxtext-ext data convert`"
    ) from error


def _spread(count: int, parts: int) -> list[int]:
  """Splits a number into nearly equal parts: (7, 3) -> [3, 2, 2]."""
  return [count // parts + (part < count % parts) for part in range(parts)]


def _split_of(path: str) -> str:
  """Returns the split by the name of the shard, or else by that of its folder."""
  name = parse_shard_name(path)
  return name[0] if name else os.path.basename(os.path.dirname(path)) or "all"


def _positions(shard: Shard, count: int) -> list[int]:
  if shard.take is None or shard.take >= count:
    return list(range(count))
  chosen = np.random.default_rng((SEED, shard.index)).choice(count, shard.take, replace=False)
  return sorted(chosen.tolist())


def _print(console: Console, survey: Survey, findings: Sequence[Finding]) -> None:
  table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
  for name in ("split, dataset", "language"):
    table.add_column(name, overflow="fold", min_width=len(name))
  for name in (
    "records",
    "audio",
    "seconds",
    "chars",
    "words",
    "chars/s",
    "speakers",
    "unreadable",
  ):
    table.add_column(name, justify="right", no_wrap=True)
  splits = by_field(survey, "split")
  for split in sorted(splits.keys() | survey.unreadable.keys()):
    total = splits.get(split) or summarize(survey.rows[:0])
    table.add_row(_text(split), "", *_cells(total), f"{survey.unreadable[split]:,}", style="bold")
    for group, summary in by_group(survey).items():
      if group.split == split:
        names = _text(f"  {group.dataset or '-'}"), _text(group.language or "-")
        table.add_row(*names, *_cells(summary), "")
    table.add_section()
  if len(splits) > 1:
    unreadable = f"{survey.unreadable.total():,}"
    table.add_row("all", "", *_cells(summarize(survey.rows)), unreadable, style="bold")
  console.print(table)
  console.print("seconds: shortest / median / longest", style="dim")
  for finding in findings:
    console.print(f"{len(finding.rows):>9,}  {finding.name}", markup=False, highlight=False)
  for problem in survey.problems:
    console.print(
      f"unreadable: {printable(problem)}", markup=False, highlight=False, soft_wrap=True
    )


def _text(name: str) -> Text:
  return Text(printable(name))


def _cells(summary: Summary) -> list[str]:
  if not summary.records:
    return ["0", *[""] * 6]
  lengths = (summary.shortest, summary.median, summary.longest)
  return [
    f"{summary.records:,}",
    format_duration(summary.seconds),
    " / ".join(f"{seconds:.2f}" for seconds in lengths),
    f"{summary.characters:,}",
    f"{summary.words:,}",
    f"{summary.characters_per_second:.1f}",
    "-" if summary.speakers is None else f"{summary.speakers:,}",
  ]
