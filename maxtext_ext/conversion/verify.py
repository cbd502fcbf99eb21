"""Verification of converted data: reads every record, compares every file with its manifest."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.table import Table

from maxtext_ext.audio.io import check_samples
from maxtext_ext.audio.limits import SAMPLE_RATE, AudioError
from maxtext_ext.conversion.jobs import progress_folder
from maxtext_ext.conversion.local_engine import run_jobs
from maxtext_ext.conversion.options import Progress
from maxtext_ext.conversion.shard_job import ProgressCallback, ShardStatus
from maxtext_ext.escape import printable
from maxtext_ext.files import checksum, storage
from maxtext_ext.pages.duration import format_duration
from maxtext_ext.records.lengths import LengthsBuilder, ShardLengths, lengths_path, read_lengths
from maxtext_ext.records.manifest import (
  SHARD_SUFFIX,
  Manifest,
  WrittenShard,
  list_shards,
  manifest_path,
  parse_shard_name,
  read_manifest,
  splits_with_manifest,
)
from maxtext_ext.records.reader import DamagedRecord, RecordSource, find_shards
from maxtext_ext.records.schema import Record, RecordError, decode_example

_RECORDS_NAMED = 10  # of the bad ones of a shard
_TABLE_WIDTH = 100  # where stdout is no terminal


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardCheck:
  """Findings of one shard.

  Attributes:
    name: file name.
    records: that can be read, bad ones too.
    samples: of audio in those that are good.
    bytes: size of the file.
    problems: what is wrong, a line each; of many bad records only the first and their number.
  """

  name: str
  records: int
  samples: int
  bytes: int
  problems: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitCheck:
  """Findings of a split.

  Attributes:
    split: its name; "" for files that are not named as shards are.
    shards: those that are there.
    has_manifest: whether there is one to hold them against.
    problems: of the set of files; those of each stand with it.
  """

  split: str
  shards: tuple[ShardCheck, ...]
  has_manifest: bool
  problems: tuple[str, ...]

  @property
  def all_problems(self) -> tuple[str, ...]:
    """Problems of the set and of each shard, with its name."""
    return self.problems + tuple(
      f"{shard.name}: {problem}" for shard in self.shards for problem in shard.problems
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Job:
  path: str
  expected: WrittenShard | None


def verify(
  path: str, *, workers: int = 1, progress: Callable[[Progress], None] | None = None
) -> list[SplitCheck]:
  """Reads every record of every shard in a folder.

  Args:
    path: the folder, local or gs://.
    workers: processes.
    progress: called repeatedly.

  Returns:
    The splits, by name; all is well where none has a problem.

  Raises:
    ValueError: there are no shards, or a manifest cannot be read.
  """
  if workers < 1:
    raise ValueError(f"workers is {workers}, expected 1 or more")
  shards_of: dict[str, list[str]] = {split: [] for split in splits_with_manifest(path)}
  for shard in list_shards(path):
    name = parse_shard_name(shard)
    shards_of.setdefault(name[0] if name else "", []).append(shard)
  if not shards_of:
    raise ValueError(
      f"{path}: no shards, expected a folder with *{SHARD_SUFFIX} files; check the path"
    )
  manifests = {split: read_manifest(path, split) if split else None for split in shards_of}
  jobs = []
  for split, shards in shards_of.items():
    manifest = manifests[split]
    expected = {shard.name: shard for shard in manifest.shards} if manifest else {}
    jobs += [_Job(path=each, expected=expected.get(os.path.basename(each))) for each in shards]

  def watch(status: ShardStatus) -> bool:
    if progress:
      now = Progress(
        done=status.done,
        done_before=0.0,
        read=status.read,
        seconds=status.samples / SAMPLE_RATE,
        quarantined=status.bad,
      )
      progress(now)
    return True

  checks = {
    job.path: check
    for job, check in zip(
      jobs, run_jobs(check_shard, jobs, workers=workers, watch=watch), strict=True
    )
  }
  return [
    SplitCheck(
      split=split,
      shards=tuple(checks[shard] for shard in shards),
      has_manifest=manifests[split] is not None,
      problems=tuple(_check_set(path, split, shards, manifests[split])),
    )
    for split, shards in sorted(shards_of.items())
  ]


def print_report(splits: Sequence[SplitCheck]) -> bool:
  """Prints a table, and problems on stderr; returns whether there are none."""
  console, errors = Console(), Console(stderr=True)
  if not console.is_terminal:
    console.width = _TABLE_WIDTH
  table = Table()
  table.add_column("split", overflow="fold")
  for column in ("shards", "records", "audio", "MB"):
    table.add_column(column, justify="right")
  table.add_column("result")
  for each in splits:
    if each.all_problems:
      result = f"[red]{len(each.all_problems)} bad[/red]"
    else:
      result = "whole" if each.has_manifest else "readable, no manifest"
    table.add_row(
      each.split or "(other names)",
      str(len(each.shards)),
      f"{sum(shard.records for shard in each.shards):,}",
      format_duration(sum(shard.samples for shard in each.shards) / SAMPLE_RATE),
      f"{sum(shard.bytes for shard in each.shards) / 1e6:,.1f}",
      result,
    )
  console.print(table)
  for each in splits:
    if not each.has_manifest:
      name = f"'{each.split}'" if each.split else "files of other names"
      errors.print(
        f"{name}: no manifest, so there are no checksums to compare with",
        markup=False,
        highlight=False,
        soft_wrap=True,
      )
    for problem in each.all_problems:
      errors.print(f"bad: {printable(problem)}", markup=False, highlight=False, soft_wrap=True)
  is_well = not any(each.all_problems for each in splits)
  if not is_well:
    errors.print("copy the bad files again, or convert them again with --overwrite")
  return is_well


def check_shard(job: _Job, watch: ProgressCallback) -> ShardCheck:
  """Reads one shard; problems are part of what it returns."""
  status = ShardStatus()
  size = storage.size_of(job.path)
  problems = _Problems(status)
  records, lengths = 0, LengthsBuilder()
  with storage.local_copy(job.path) as path:
    if job.expected and size != job.expected.bytes:
      problems.add(f"{size} bytes, the manifest says {job.expected.bytes}")
    elif job.expected and (crc32c := checksum.of_file(path)) != job.expected.crc32c:
      problems.add(f"CRC32C is {crc32c}, the manifest says {job.expected.crc32c}")
    try:
      source = RecordSource([path])
    except ValueError as error:
      problems.add(str(error))
    else:
      records = len(source)
      if job.expected and records != job.expected.records:
        problems.add(f"{records} records, the manifest says {job.expected.records}")
      for index in range(records):
        record = _check_record(source, index, problems)
        lengths.add(record)
        status.samples += len(record.audio) if record else 0
        status.read += 1
        status.done = (index + 1) / records
        watch(status)
      seconds = status.samples / SAMPLE_RATE
      if job.expected and not status.bad and seconds != job.expected.seconds:
        problems.add(f"{seconds} s of audio, the manifest says {job.expected.seconds}")
      if not problems.lines():  # else the shard is not the one that they are of
        _check_lengths(job.path, lengths.build(size), problems)
  return ShardCheck(
    name=os.path.basename(job.path),
    records=records,
    samples=status.samples,
    bytes=size,
    problems=problems.lines(),
  )


def _check_record(source: RecordSource, index: int, problems: "_Problems") -> Record | None:
  """Reads one record; returns None for a bad one."""
  try:
    record = decode_example(source[index])
    check_samples(record.audio)
  except (RecordError, AudioError) as error:
    reason = error.reason if isinstance(error, DamagedRecord) else error
    problems.add_record(f"record {index}: {reason}")
    return None
  return record


def _check_lengths(shard: str, expected: ShardLengths, problems: "_Problems") -> None:
  """Compares the file of lengths beside a shard, where there is one, with the shard's records."""
  path = lengths_path(shard)
  try:
    stored = read_lengths(path)
  except ValueError as error:
    problems.add(str(error))
    return
  if stored is not None and not stored.equals(expected):
    problems.add(
      f"{os.path.basename(path)} is not of this shard; remove it, it is rebuilt when needed"
    )


class _Problems:
  """Problems of a shard; of many bad records the first few."""

  def __init__(self, status: ShardStatus) -> None:
    self._status = status
    self._lines: list[str] = []
    self._records: list[str] = []

  def add(self, problem: str) -> None:
    self._lines.append(problem)

  def add_record(self, problem: str) -> None:
    self._status.bad += 1
    if len(self._records) < _RECORDS_NAMED:
      self._records.append(problem)

  def lines(self) -> tuple[str, ...]:
    more = self._status.bad - len(self._records)
    rest = [f"and {more} more bad records"] if more else []
    return (*self._lines, *self._records, *rest)


def _check_set(
  folder: str, split: str, shards: Sequence[str], manifest: Manifest | None
) -> Iterator[str]:
  """Yields problems of the set of files."""
  names = {os.path.basename(shard) for shard in shards}
  if split and storage.exists(progress_folder(folder, split)):
    yield f"the conversion of '{split}' is not finished; run its command again"
  if manifest:
    expected = {shard.name for shard in manifest.shards}
    yield from (f"{name} is missing" for name in sorted(expected - names))
    where = os.path.basename(manifest_path(folder, split))
    yield from (f"{name} is not in {where}" for name in sorted(names - expected))
  elif split:
    try:
      find_shards(folder, split)
    except ValueError as error:
      yield str(error)
