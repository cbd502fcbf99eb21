"""Execution of a recipe: each source becomes a folder of ArrayRecord shards."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from maxtext_ext.conversion.convert import ConvertOptions, ConvertSummary, Progress, convert
from maxtext_ext.files import storage
from maxtext_ext.pages.duration import format_duration
from maxtext_ext.prepare.recipe import Part, Source
from maxtext_ext.prepare.select import Select
from maxtext_ext.records.manifest import read_manifest
from maxtext_ext.sources.formats import load_format
from maxtext_ext.sources.huggingface import DatasetSource, find_files
from maxtext_ext.sources.options import SourceOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareOptions:
  """Options shared by all sources of a recipe.

  Attributes:
    min_seconds, max_seconds: shorter and longer clips are left out.
    audio, workers, max_bad_fraction, overwrite: see ConvertOptions.
  """

  min_seconds: float = 0.5
  max_seconds: float = 30.0
  audio: str = "keep"
  workers: int = 1
  max_bad_fraction: float = 0.01
  overwrite: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
  """Contents of a split."""

  records: int
  seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
  """Counts of one part of a source: read = written + quarantined + left out.

  Attributes:
    name: of the source.
    part: which.
    data_dir: folder of the shards.
    splits: contents by split.
    summary: the counts of the conversion.
  """

  name: str
  part: Part
  data_dir: str
  splits: Mapping[str, Written]
  summary: ConvertSummary


_HUB = "huggingface"
# Told what is under way, "crowd-recital: downloading", and how far that is: share done, details.
ProgressCallback = Callable[[str, float, str], None]


def prepare(
  sources: Sequence[tuple[Source, str]],
  out: str,
  options: PrepareOptions,
  *,
  watch: ProgressCallback | None = None,
) -> list[Prepared]:
  """Writes {out}/{source}/{split}-00000-of-0000N.array_record for each source and split.

  All files of all sources are listed and downloaded before the first is converted. Complete splits
  are not converted again; interrupted conversions resume.

  Args:
    sources: pairs of source and its place: a folder, a file, a glob or an id, see
      sources/huggingface.py; empty: on the hub.
    out: folder, local or a URL.
    options: see there.
    watch: called again and again.

  Raises:
    ValueError: a source is not found or has other columns, or `out` holds other data.
    TooManyBadError: over `max_bad_fraction`.
    OSError: reading or writing fails.
  """
  tasks = [
    _task_of(source, part, where, out, options)
    for source, where in sources
    for part in source.parts
  ]
  for task in tasks:
    _find(task, watch)
  return [_convert(task, options, watch) for task in tasks]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Task:
  source: Source
  part: Part
  form: str  # of the source's files
  place: str
  select: Select
  out: str


def _task_of(source: Source, part: Part, where: str, out: str, options: PrepareOptions) -> _Task:
  folder = storage.join(out, source.name)
  located = source.locate(where, part, folder) if source.locate and where else None
  form, place = located or (_HUB, _place_of(source, part, where))
  select = source.select(part, min_seconds=options.min_seconds, max_seconds=options.max_seconds)
  return _Task(source=source, part=part, form=form, place=place, select=select, out=folder)


def _place_of(source: Source, part: Part, where: str) -> str:
  dataset = DatasetSource.parse(where or source.hub)
  # The files of a source of one part are all of that part, however they are called.
  is_named = len(source.parts) > 1 or part.config or not where
  split = part.split if is_named else dataset.split
  config = dataset.config or part.config or source.config
  return str(dataclasses.replace(dataset, config=config, split=split))


def _find(task: _Task, watch: ProgressCallback | None) -> None:
  """Checks that the files are there; those of the hub are downloaded."""

  def show(done: int, total: int, name: str) -> None:
    if watch:
      watch(f"{task.source.name}: downloading", done / total, name)

  if task.form != _HUB:
    load_format(task.form).find_files(task.place, None)
    return
  try:
    find_files(task.place, progress=show)
  except ValueError as error:
    if not task.source.terms:
      raise
    raise ValueError(f"{error}; {task.source.terms}") from error


def _convert(task: _Task, options: PrepareOptions, watch: ProgressCallback | None) -> Prepared:
  source, part = task.source, task.part

  def show(now: Progress) -> None:
    if watch:
      detail = f"{now.read:,} read, {format_duration(now.seconds)} written"
      watch(f"{source.name} {part.label}", now.done, detail)

  keys: dict[str, Any] = {
    "shards": part.shards,
    "audio_key": source.audio_key,
    "text_key": source.text_key,
    "id_key": source.id_key,
    "language": source.language,
    "dataset_name": source.dataset_name,
  }
  if task.form != _HUB:  # which has no columns
    keys = {"shards": part.shards, "language": source.language, "dataset_name": source.dataset_name}
  summary = convert(
    task.place,
    task.out,
    ConvertOptions(
      source_format=task.form,
      splits=part.splits,
      audio=options.audio,
      workers=options.workers,
      max_bad_fraction=options.max_bad_fraction,
      selector=task.select,
      overwrite=options.overwrite,
      source=SourceOptions(**keys),
    ),
    progress=show,
  )
  splits = {}
  for split in part.splits:
    manifest = read_manifest(task.out, split)
    assert manifest
    splits[split] = Written(records=manifest.records, seconds=manifest.seconds)
  return Prepared(name=source.name, part=part, data_dir=task.out, splits=splits, summary=summary)
