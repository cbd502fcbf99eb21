"""Before a conversion: its jobs, and what an earlier one left in the output folder.

A conversion that is not finished has a folder {out}/.progress-{split} for each of its splits. It
holds the identity of the conversion and what its jobs left; `finish` removes it.
"""

import dataclasses
import hashlib
import importlib
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from maxtext_ext.records import manifest, paths, quarantine, storage
from maxtext_ext.records.conversion import SOURCES, ConvertOptions, ConvertSummary, Plan
from maxtext_ext.records.manifest import Manifest
from maxtext_ext.records.selector import describe_selector
from maxtext_ext.records.shard_job import ShardJob
from maxtext_ext.records.sources.entry import InputShard

_PLAN_NAME = "plan.json"


def plan_conversion(source: str, out: str, options: ConvertOptions) -> Plan:
  """Opens the source, and makes the output folder ready for this conversion.

  Args:
    source: a file, a folder or a glob.
    out: the folder to write to.
    options: how.

  Raises:
    ValueError: nothing is found, or `out` holds another conversion of these splits.
  """
  if storage.is_file(out):
    raise ValueError(f"{out} is a file, expected the folder for the shards; choose another name")
  module = importlib.import_module(SOURCES[options.source_format])
  shards = module.open_shards(source, options.source)
  find = getattr(module, "find_files", None)
  files = find(source) if find else storage.find_files(source, module.FILE_PATTERN)
  identity = _identity(source, options, shards, files)
  state = _State(out, options.splits)
  plan = Plan(source=source, out=out, options=options, identity=identity, jobs=())
  if state.is_unfinished(identity):
    state.remove_leftovers()
  elif state.is_finished(identity) and not options.overwrite:
    state.remove_progress()
    return dataclasses.replace(plan, finished=_summary_of(out, state.manifests))
  else:
    if not options.overwrite:
      state.refuse_other(identity)
    state.clear()
    state.begin(identity)
  jobs = []
  for index, shard in enumerate(shards):
    names = [paths.shard_name(split, index, len(shards)) for split in options.splits]
    job = ShardJob(
      index=index,
      shard=shard,
      splits=options.splits,
      outputs=tuple(storage.join(out, name) for name in names),
      audio=options.audio,
      selector=options.selector,
      state=storage.join(progress_folder(out, options.splits[0]), f"{index:05d}"),
    )
    jobs.append(job)
  return dataclasses.replace(plan, jobs=tuple(jobs))


def progress_folder(out: str, split: str) -> str:
  """Where an unfinished conversion of a split keeps what it needs to go on."""
  return storage.join(out, f".progress-{split}")


def end_conversion(plan: Plan) -> None:
  """Removes what only an unfinished conversion needs."""
  state = _State(plan.out, plan.options.splits)
  state.remove_leftovers()
  state.remove_progress()


def _identity(
  source: str, options: ConvertOptions, shards: Sequence[InputShard], files: Sequence[str]
) -> dict[str, Any]:
  """What decides on the output, as JSON gives it back; the keys are shown where two differ."""
  content = [[path, version] for path, version in zip(files, storage.versions(files), strict=True)]
  content += [repr(shard) for shard in shards]
  digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
  asked = dataclasses.asdict(options.source)
  identity = {
    "source": source,
    "source_format": options.source_format,
    "splits": list(options.splits),
    "audio": options.audio,
    "selector": describe_selector(options.selector),
    **{key: value for key, value in asked.items() if key != "allow_urls"},
    "content of the source": digest[:32],
  }
  return json.loads(json.dumps(identity))


def _summary_of(out: str, manifests: Sequence[Manifest]) -> ConvertSummary:
  """What the conversion said when it ended, from what it left."""
  first = manifests[0]
  lines = quarantine.read_lines(storage.join(out, quarantine.QUARANTINE_NAME))
  label = quarantine.label_of([found.split for found in manifests])
  ours = (quarantine.as_text(line) for line in lines if line["split"] == label)
  return ConvertSummary(
    read=first.read,
    written=sum(found.records for found in manifests),
    quarantined=first.quarantined,
    left_out=first.left_out,
    seconds=sum(found.seconds for found in manifests),
    shards=tuple(storage.join(out, shard.name) for found in manifests for shard in found.shards),
    reasons=tuple(itertools.islice(ours, quarantine.REASONS_KEPT)),
    repeated=True,
  )


class _State:
  """What the output folder holds of some splits."""

  def __init__(self, out: str, splits: Sequence[str]) -> None:
    self._out = out
    self._splits = splits
    found = (manifest.read_manifest(out, split) for split in splits)
    self.manifests = [each for each in found if each]
    self._plans = [self._read_plan(split) for split in splits]
    names = ((path, paths.parse_shard_name(path)) for path in paths.list_shards(out))
    self._shards = [path for path, name in names if name and name[0] in splits]

  def is_unfinished(self, identity: Mapping[str, Any]) -> bool:
    return all(plan == identity for plan in self._plans) and not self.is_finished(identity)

  def is_finished(self, identity: Mapping[str, Any]) -> bool:
    """Whether the manifests say so, and all shards that they name are there."""
    names = {os.path.basename(path) for path in self._shards}
    return len(self.manifests) == len(self._splits) and all(
      found.conversion == identity and names.issuperset(shard.name for shard in found.shards)
      for found in self.manifests
    )

  def refuse_other(self, identity: Mapping[str, Any]) -> None:
    """Raises ValueError where `clear` would remove what this conversion did not begin."""
    others = [found.conversion for found in self.manifests]
    others += [plan for plan in self._plans if plan is not None]
    for other in others:
      if other != identity:
        keys = [key for key in identity | other if identity.get(key) != other.get(key)]
        changes = [f"{key} was {other.get(key)!r}, now {identity.get(key)!r}" for key in keys]
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
    """Removes all that is there of the splits; the manifests first, since they vouch for it."""
    for split in self._splits:
      storage.remove(manifest.manifest_path(self._out, split))
    for path in self._shards:
      storage.remove(path)
    self.remove_leftovers()
    self.remove_progress()

  def begin(self, identity: Mapping[str, Any]) -> None:
    """Lays the folders down by which the conversion is known when it goes on."""
    data = json.dumps(identity, indent=1).encode()
    for split in self._splits:
      storage.write_bytes(storage.join(progress_folder(self._out, split), _PLAN_NAME), data)

  def remove_leftovers(self) -> None:
    """Removes temporary files that a killed process left behind."""
    names = {manifest.MANIFEST_NAME.format(split=split) for split in self._splits}
    names.add(quarantine.QUARANTINE_NAME)
    for path, name in storage.leftovers(self._out).items():
      shard = paths.parse_shard_name(name)
      if name in names or (shard and shard[0] in self._splits):
        storage.remove(path)

  def remove_progress(self) -> None:
    for split in self._splits:
      storage.remove_folder(progress_folder(self._out, split))

  def _read_plan(self, split: str) -> dict[str, Any] | None:
    path = storage.join(progress_folder(self._out, split), _PLAN_NAME)
    return json.loads(storage.read_bytes(path)) if storage.is_file(path) else None

  def _names(self) -> str:
    return " and ".join(f"'{split}'" for split in self._splits)
