"""Last step of a conversion: duplicate ids over all shards, quarantine file and manifests."""

import collections
import dataclasses
import functools
import heapq
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.conversion.jobs import end_conversion
from maxtext_ext.conversion.options import ConversionPlan, ConvertSummary
from maxtext_ext.conversion.shard_job import (
  ShardJob,
  ShardResult,
  duplicate_reason,
  encode_as,
  id_digest,
  read_ids,
)
from maxtext_ext.files import storage
from maxtext_ext.records.lengths import LengthsBuilder, write_lengths
from maxtext_ext.records.manifest import Manifest, WrittenShard, write_manifest
from maxtext_ext.records.quarantine import (
  QUARANTINE_NAME,
  Quarantine,
  error_of,
  quarantine_line,
  read_lines,
  too_many,
)
from maxtext_ext.records.reader import RecordSource
from maxtext_ext.records.schema import parse_example
from maxtext_ext.records.writer import ShardWriter

# Rows of ShardResult.ids that are of no use, each with the file and position that has its id first.
Duplicates = dict[int, tuple[str, int]]


def finish(plan: ConversionPlan, results: Iterable[ShardResult]) -> ConvertSummary:
  """Completes a conversion; after a kill it is called again.

  Args:
    plan: all its jobs are done.
    results: what they returned, in any order.

  Raises:
    TooManyBadError: over `max_bad_fraction`. quarantine.jsonl has them all; the shards stay without
      a manifest, and the same conversion with a higher rate has only this step left.
  """
  results = sorted(results, key=lambda result: result.index)
  if [result.index for result in results] != [job.index for job in plan.jobs]:
    raise ValueError(f"{len(results)} results of {len(plan.jobs)} jobs, expected one of each")
  duplicates = find_duplicates(results)
  renamed = _rename(plan.jobs, results, duplicates)
  quarantine = _write_quarantine(plan, results, duplicates)
  read = sum(result.read for result in results)
  if too_many(read, quarantine.count, plan.options.max_bad_fraction, ended=True):
    raise error_of(read, quarantine.count, plan.options.max_bad_fraction, quarantine.reasons)
  shards: dict[str, list[WrittenShard]] = {split: [] for split in plan.options.splits}
  left_out: collections.Counter[str] = collections.Counter()
  for job, result, rows, names in zip(plan.jobs, results, duplicates, renamed, strict=True):
    left_out.update(result.left_out)
    for split, shard in zip(job.splits, _without(job, result, rows, names), strict=True):
      shards[split].append(shard)
  for split in plan.options.splits:
    write_manifest(
      plan.out,
      Manifest(
        split=split,
        conversion=plan.identity,
        read=read,
        quarantined=quarantine.count,
        left_out=dict(sorted(left_out.items())),
        shards=tuple(shards[split]),
      ),
    )
  end_conversion(plan)
  written = [shard for split in plan.options.splits for shard in shards[split]]
  summary = ConvertSummary(
    read=read,
    written=sum(shard.records for shard in written),
    quarantined=quarantine.count,
    left_out=dict(sorted(left_out.items())),
    seconds=sum(shard.samples for shard in written) / SAMPLE_RATE,
    shards=tuple(storage.join(plan.out, shard.name) for shard in written),
    reasons=tuple(quarantine.reasons),
    kept=len(plan.done),
  )
  assert summary.read == summary.written + summary.quarantined + left_out.total()
  return summary


def find_duplicates(results: Sequence[ShardResult]) -> list[Duplicates]:
  """Finds for each shard the records whose id an earlier shard has."""
  found: list[dict[int, tuple[str, int]]] = [{} for _ in results]
  ids = np.concatenate([result.ids[["high", "low"]] for result in results])
  starts = np.cumsum([0, *(len(result.ids) for result in results)])
  order = np.lexsort((ids["low"], ids["high"]))  # stable: of equal ids the first stays the first
  is_again = np.zeros(len(ids), bool)
  is_again[1:] = ids[order[1:]] == ids[order[:-1]]
  group = np.maximum.accumulate(np.where(is_again, 0, np.arange(len(ids))))
  for again, first in zip(order[is_again], order[group[is_again]], strict=True):
    (shard, row), (first_shard, first_row) = (
      (int(at), int(number - starts[at]))
      for number in (again, first)
      for at in [np.searchsorted(starts, number, side="right") - 1]
    )
    place = results[first_shard].ids[first_row]
    found[shard][row] = (results[first_shard].files[place["file"]], int(place["position"]))
  return found


def _rename(
  jobs: Sequence[ShardJob], results: Sequence[ShardResult], duplicates: Sequence[Duplicates]
) -> list[dict[str, str]]:
  """Replaces ids of each shard by their fallbacks, so that their rows are no longer duplicates.

  A fallback names file and row, so no two are equal; if a source has it as an id of its own, the
  record stays a duplicate.
  """
  taken = np.unique(np.concatenate([result.ids["high"] for result in results]))
  renamed: list[dict[str, str]] = []
  for job, rows in zip(jobs, duplicates, strict=True):
    names: dict[str, str] = {}
    if rows:
      ids, fallbacks = read_ids(job)
      for row in list(rows):
        if fallbacks[row] and not _is_in(id_digest(fallbacks[row])[0], taken):
          names[ids[row]] = fallbacks[row]
          del rows[row]
    renamed.append(names)
  return renamed


def _is_in(value: int, ordered: np.ndarray) -> bool:
  place = int(np.searchsorted(ordered, np.uint64(value)))
  return place < len(ordered) and int(ordered[place]) == value


def _place_of(order: Mapping[str, int], line: Mapping[str, Any]) -> tuple[int, int]:
  """Place of a line of the quarantine among those of its shard."""
  return order[line["file"]], line["position"]


def _write_quarantine(
  plan: ConversionPlan, results: Sequence[ShardResult], duplicates: Sequence[Duplicates]
) -> Quarantine:
  path = storage.join(plan.out, QUARANTINE_NAME)
  # Conversions of other splits into the same folder, which may end now too, have lines in it.
  with storage.folder_lock(plan.out), Quarantine(path, plan.options.splits) as quarantine:
    quarantine.copy_other_splits(path)
    for job, result, rows in zip(plan.jobs, results, duplicates, strict=True):
      lines = heapq.merge(
        read_lines(job.quarantine_path),
        _duplicate_lines(job, result, rows),
        key=functools.partial(_place_of, {file: n for n, file in enumerate(result.files)}),
      )
      for line in lines:
        quarantine.add_line(line)
  return quarantine


def _duplicate_lines(
  job: ShardJob, result: ShardResult, rows: Duplicates
) -> Iterator[dict[str, Any]]:
  if not rows:
    return
  sample_ids, _ = read_ids(job)
  for row, first in sorted(rows.items()):
    place = result.ids[row]
    yield quarantine_line(
      job.splits,
      sample_ids[row],
      result.files[place["file"]],
      int(place["position"]),
      duplicate_reason(sample_ids[row], *first),
    )


def _without(
  job: ShardJob, result: ShardResult, rows: Duplicates, renamed: Mapping[str, str]
) -> list[WrittenShard]:
  """Returns the output shards of a job; rewrites those that hold one of these records.

  Args:
    job, result: of the shards.
    rows: those to leave out.
    renamed: new ids by the old ones.
  """
  shards = list(result.shards)
  if not rows and not renamed:
    return shards
  # First, so that a conversion that is killed here or begun again does not take them for complete.
  storage.write_bytes(job.result_path, dataclasses.replace(result, reduced=True).to_json())
  sample_ids, _ = read_ids(job)
  places = {sample_id: row for row, sample_id in enumerate(sample_ids)}
  changed = [*rows, *(places[sample_id] for sample_id in renamed)]
  for index in sorted({int(result.ids[row]["split"]) for row in changed}):
    unwanted = {sample_ids[row] for row in rows if result.ids[row]["split"] == index}
    shards[index] = _rewrite(job, index, unwanted, renamed)
  return shards


def _rewrite(
  job: ShardJob, index: int, unwanted: Container[str], renamed: Mapping[str, str]
) -> WrittenShard:
  """Rewrites a shard and its lengths without some ids, and with new ones for others."""
  path = job.outputs[index]
  samples, lengths = 0, LengthsBuilder()
  with storage.local_copy(path) as local, ShardWriter(path) as writer:
    source = RecordSource([local])
    for row in range(len(source)):
      data = source[row]
      record = parse_example(data).record
      if record.sample_id in unwanted:
        continue
      if new := renamed.get(record.sample_id):
        record = dataclasses.replace(record, sample_id=new)
        data = encode_as(record, job.audio)
      writer.write(data)
      samples += len(record.audio)
      lengths.add(record)
  write_lengths(path, lengths.build(writer.bytes))
  return WrittenShard(
    name=os.path.basename(path),
    records=writer.records,
    samples=samples,
    bytes=writer.bytes,
    crc32c=writer.crc32c,
  )
