"""Plan of a conversion: its jobs, and the state that an earlier one left in the output folder.

A conversion that is not finished has a folder {out}/.progress-{split} for each of its splits, with
its identity; `finish` removes it. The results of its jobs stay in
{out}/.shards-{first split}, where the next conversion by the same command finds each shard's
inputs.
"""

import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from maxtext_ext.conversion.options import ConversionPlan, ConvertOptions, ConvertSummary
from maxtext_ext.conversion.selector import describe_selector
from maxtext_ext.conversion.shard_job import ShardJob, ShardResult, read_result
from maxtext_ext.files import storage
from maxtext_ext.files.outputs import require_apart
from maxtext_ext.records import manifest, quarantine
from maxtext_ext.records.lengths import LENGTHS_SUFFIX, lengths_path, shard_of
from maxtext_ext.records.manifest import Manifest
from maxtext_ext.sources.detect import detect_format
from maxtext_ext.sources.entry import InputShard, identity_of
from maxtext_ext.sources.formats import AUTO, load_format
from maxtext_ext.sources.named_files import current_versions
from maxtext_ext.sources.options import SourceOptions, refuse_others
from maxtext_ext.sources.splits import describe_names

_PLAN_NAME = "plan.json"
_FILES = "files of the source"  # in the identity: a digest of their versions
_DEFAULTS = dataclasses.asdict(SourceOptions())
_REQUESTS_AT_ONCE = 16


def plan_conversion(
  source: str, out: str, options: ConvertOptions, tell: Callable[[str], None] | None = None
) -> ConversionPlan:
  """Opens the source, and prepares the output folder for this conversion.

  Shards of an earlier conversion by the same command are kept where the source and the sound files
  that it names are unchanged; the rest is removed.

  Args:
    source: a file, a folder or a glob.
    out: the folder to write to.
    options: how.
    tell: called with one line about the source.

  Raises:
    ValueError: nothing is found, an option does not apply, or `out` holds another
      conversion of these splits.
  """
  if storage.is_file(out):
    raise ValueError(f"{out} is a file, expected the folder for the shards; choose another name")
  _check_name(out)
  if options.source_format == AUTO:
    options = dataclasses.replace(options, source_format=detect_format(source))
  form = load_format(options.source_format)
  refuse_others(form.name, options.source.named(), form.reads)
  files = form.find_files(source, options.only_split)
  require_apart([storage.join(out, quarantine.QUARANTINE_NAME)], files)
  if tell:
    tell(f"{source}: reading {describe_names(files)} as {options.source_format}")
  shards = form.open_files(files, options.source)
  versions = dict(zip(files, storage.versions(files), strict=True))
  settings = _settings(source, options)
  identity = settings | {_FILES: _digest_of(versions)}
  jobs = _make_jobs(shards, versions, out, options)
  plan = ConversionPlan(source=source, out=out, options=options, identity=identity, jobs=jobs)
  state = _State(out, options.splits)
  results: Sequence[ShardResult] = ()
  if options.overwrite:
    state.clear()
  else:
    state.read()
    state.refuse_other(settings)
    results = _current_results(jobs, options)
    if state.is_finished(identity, files, are_all_current=len(results) == len(jobs)):
      state.remove_progress()
      return dataclasses.replace(plan, jobs=(), finished=_summary_of(out, state.manifests))
  done = tuple(result for result in results if _is_whole(jobs[result.index], result))
  state.begin(identity, [jobs[result.index] for result in done])
  return dataclasses.replace(plan, done=done)


def _check_name(out: str) -> None:
  """Rejects a folder without a name, as from an empty shell variable, or not in UTF-8."""
  if not out:
    raise ValueError("OUT is empty, expected the folder for the shards; give it a name")
  try:
    out.encode()
  except UnicodeEncodeError as error:
    raise ValueError(
      f"{out}: the folder's name is not UTF-8, which ArrayRecord's library needs; choose another"
    ) from error


def progress_folder(out: str, split: str) -> str:
  """Returns the folder in which an unfinished conversion of a split keeps its progress."""
  return storage.join(out, f".progress-{split}")


def _results_folder(out: str, split: str) -> str:
  """Returns the folder in which the jobs of a conversion leave their results."""
  return storage.join(out, f".shards-{split}")


def end_conversion(plan: ConversionPlan) -> None:
  """Removes the files that only an unfinished conversion needs."""
  state = _State(plan.out, plan.options.splits)
  state.remove_temporaries()
  state.remove_progress()


def _settings(source: str, options: ConvertOptions) -> dict[str, Any]:
  """Returns the command's settings of the output, as JSON restores them; shown where two differ."""
  # Which files were fetched stands in the results of the shards, so this may change.
  of_source = dataclasses.asdict(options.source)
  del of_source["allow_urls"]
  settings = {
    "source": source,
    "source_format": options.source_format,
    "splits": list(options.splits),
    "audio": options.audio,
    "selector": describe_selector(options.selector),
    **of_source,
  }
  return json.loads(json.dumps(settings))


def _make_jobs(
  shards: Sequence[InputShard], versions: Mapping[str, str], out: str, options: ConvertOptions
) -> tuple[ShardJob, ...]:
  jobs = []
  for index, shard in enumerate(shards):
    names = [manifest.shard_name(split, index, len(shards)) for split in options.splits]
    job = ShardJob(
      index=index,
      shard=shard,
      splits=options.splits,
      outputs=tuple(storage.join(out, name) for name in names),
      audio=options.audio,
      selector=options.selector,
      state=storage.join(_results_folder(out, options.splits[0]), f"{index:05d}"),
      fingerprint=_digest_of([names, identity_of(shard, versions)]),
    )
    jobs.append(job)
  return tuple(jobs)


def _digest_of(content: Any) -> str:
  return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def _current_results(jobs: Sequence[ShardJob], options: ConvertOptions) -> list[ShardResult]:
  """Returns the stored results of jobs whose inputs have not changed."""
  with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
    results = [result for result in pool.map(read_result, jobs) if result]
  names = {name for result in results for name in result.named}
  now = current_versions(names, allow_urls=options.source.allow_urls)
  return [
    dataclasses.replace(result, named={})  # they have served
    for result in results
    if all(version is not None and now[name] == version for name, version in result.named.items())
  ]


def _is_whole(job: ShardJob, result: ShardResult) -> bool:
  """Returns whether the shards of a job exist as it wrote them."""
  return not result.reduced and all(
    storage.is_file(path) and storage.size_of(path) == shard.bytes
    for path, shard in zip(job.outputs, result.shards, strict=True)
  )


def _summary_of(out: str, manifests: Sequence[Manifest]) -> ConvertSummary:
  """Rebuilds the summary of a finished conversion from its manifests."""
  first = manifests[0]
  lines = quarantine.read_lines(storage.join(out, quarantine.QUARANTINE_NAME))
  label = quarantine.label_of([each.split for each in manifests])
  ours = (quarantine.as_text(line) for line in lines if line["split"] == label)
  return ConvertSummary(
    read=first.read,
    written=sum(each.records for each in manifests),
    quarantined=first.quarantined,
    left_out=first.left_out,
    seconds=sum(each.seconds for each in manifests),
    shards=tuple(storage.join(out, shard.name) for each in manifests for shard in each.shards),
    reasons=tuple(itertools.islice(ours, quarantine.REASONS_KEPT)),
    repeated=True,
  )


class _State:
  """State of some splits in the output folder."""

  def __init__(self, out: str, splits: Sequence[str]) -> None:
    self._out = out
    self._splits = splits
    self.manifests: list[Manifest] = []
    self._plans: list[dict[str, Any] | None] = []
    self._shards = [path for path in manifest.list_shards(out) if self._owns(path)]
    self._lengths = [path for path in storage.list_folder(out, LENGTHS_SUFFIX) if self._owns(path)]

  def read(self) -> None:
    """Reads the state that conversions have left; `clear` does not need it.

    Raises:
      ValueError: a file of theirs is damaged.
    """
    manifests = (manifest.read_manifest(self._out, split) for split in self._splits)
    self.manifests = [each for each in manifests if each]
    self._plans = [self._read_plan(split) for split in self._splits]

  def is_finished(
    self, identity: Mapping[str, Any], files: Sequence[str], *, are_all_current: bool
  ) -> bool:
    """Returns whether a conversion is complete, and all shards of its manifests exist.

    Args:
      identity: of the conversion as it would be now.
      files: of the source.
      are_all_current: whether the stored result of every job is.

    Raises:
      ValueError: the source has changed, and it is not known what each shard was made of.
    """
    names = {os.path.basename(path) for path in self._shards}
    if len(self.manifests) < len(self._splits) or not all(
      names.issuperset(shard.name for shard in each.shards) for each in self.manifests
    ):
      return False
    if storage.list_folder(_results_folder(self._out, self._splits[0])):
      return are_all_current
    # An earlier version did not note of what each shard was made, or that was not copied with them.
    if any(self._is_outdated(each, identity, files) for each in self.manifests):
      raise ValueError(
        f"{self._out} holds a conversion of {self._names()} whose source has changed since, and "
        "not which shards were made of what; replace it with --overwrite, or choose another folder"
      )
    return True

  def _is_outdated(
    self, stored: Manifest, identity: Mapping[str, Any], files: Sequence[str]
  ) -> bool:
    if _FILES in stored.conversion:
      return stored.conversion[_FILES] != identity[_FILES]
    written = storage.modified(manifest.manifest_path(self._out, stored.split))
    return any(storage.modified(path) > written for path in files)

  def refuse_other(self, settings: Mapping[str, Any]) -> None:
    """Raises ValueError where the splits are those of another command."""
    others = [each.conversion for each in self.manifests]
    others += [plan for plan in self._plans if plan is not None]
    for other in others:
      # What an earlier version of this program did not know yet was as it is now by default.
      before = {**_DEFAULTS, **other}
      keys = [key for key in settings if before.get(key) != settings[key]]
      if keys:
        changes = [f"{key} was {before.get(key)!r}, now {settings[key]!r}" for key in keys]
        raise ValueError(
          f"{self._out} holds another conversion of {self._names()}: {'; '.join(changes)}; "
          "replace it with --overwrite, or choose another folder"
        )
    if self._shards and not others:
      raise ValueError(
        f"{self._shards[0]} is from elsewhere: {self._out} has no manifest of {self._names()}; "
        "replace its shards with --overwrite, or choose another folder"
      )

  def clear(self) -> None:
    """Removes all files of the splits, the manifests first, since they vouch for the shards."""
    for split in self._splits:
      storage.remove(manifest.manifest_path(self._out, split))
    for path in [*self._shards, *self._lengths]:
      storage.remove(path)
    self._shards, self._lengths = [], []
    self.remove_temporaries()
    self.remove_progress()
    for split in self._splits:
      storage.remove_folder(_results_folder(self._out, split))

  def begin(self, identity: Mapping[str, Any], kept: Sequence[ShardJob]) -> None:
    """Marks the conversion as unfinished, and removes all but the results of some jobs."""
    data = json.dumps(identity, indent=1).encode()
    for split in self._splits:
      folder = progress_folder(self._out, split)
      storage.write_bytes(storage.join(folder, _PLAN_NAME), data)
      for path in storage.list_folder(folder):
        if os.path.basename(path) != _PLAN_NAME:  # an earlier version kept results there
          storage.remove(path)
    for split in self._splits:
      storage.remove(manifest.manifest_path(self._out, split))
    outputs = {path for job in kept for path in job.outputs}
    results = {path for job in kept for path in job.left_paths}
    self._remove_others(self._shards, outputs)
    self._remove_others(self._lengths, {lengths_path(path) for path in outputs})
    for split in self._splits:
      self._remove_others(storage.list_folder(_results_folder(self._out, split)), results)
    self.remove_temporaries()

  def _remove_others(self, paths: Iterable[str], kept: Container[str]) -> None:
    for path in paths:
      if path not in kept:
        storage.remove(path)

  def remove_temporaries(self) -> None:
    """Removes temporary files that a killed process left behind."""
    names = {manifest.MANIFEST_NAME.format(split=split) for split in self._splits}
    names.add(quarantine.QUARANTINE_NAME)
    for path, name in storage.stale_temporaries(self._out).items():
      if name in names or self._owns(name):
        storage.remove(path)

  def _owns(self, path: str) -> bool:
    """Returns whether this is, by its name, a shard of one of the splits or the lengths of one."""
    shard = shard_of(path) if path.endswith(LENGTHS_SUFFIX) else path
    name = manifest.parse_shard_name(shard)
    return name is not None and name[0] in self._splits

  def remove_progress(self) -> None:
    for split in self._splits:
      storage.remove_folder(progress_folder(self._out, split))

  def _read_plan(self, split: str) -> dict[str, Any] | None:
    path = storage.join(progress_folder(self._out, split), _PLAN_NAME)
    if not storage.is_file(path):
      return None
    try:
      return dict(json.loads(storage.read_bytes(path)))
    except (ValueError, TypeError) as error:
      raise ValueError(
        f"{path} is damaged ({error}), so its conversion cannot be resumed; start over with "
        "--overwrite"
      ) from error

  def _names(self) -> str:
    return " and ".join(f"'{split}'" for split in self._splits)
