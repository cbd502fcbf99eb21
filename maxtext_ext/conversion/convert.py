"""Conversion of any source to ArrayRecord shards, on this machine.

`plan_conversion`, then `run_shard` for each of its jobs, in any order and place, then `finish`.
`convert` does so on this machine; conversion/beam.py does so on many.
"""

from collections.abc import Callable

from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.conversion.finish import finish
from maxtext_ext.conversion.jobs import plan_conversion
from maxtext_ext.conversion.local_engine import JobsStopped, run_jobs
from maxtext_ext.conversion.options import (
  ConversionPlan,
  ConvertOptions,
  ConvertSummary,
  Progress,
)
from maxtext_ext.conversion.selector import Selected, Selector, Skipped
from maxtext_ext.conversion.shard_job import (
  AUDIO_MODES,
  ShardJob,
  ShardResult,
  ShardStatus,
  run_shard,
)
from maxtext_ext.files.folder_lock import sole_converter
from maxtext_ext.records.quarantine import (
  QUARANTINE_NAME,
  REASONS_SHOWN,
  TooManyBadError,
  error_of,
  too_many,
)
from maxtext_ext.sources.formats import SOURCES

__all__ = [
  "AUDIO_MODES",
  "QUARANTINE_NAME",
  "SOURCES",
  "ConversionPlan",
  "ConvertOptions",
  "ConvertSummary",
  "Progress",
  "Selected",
  "Selector",
  "ShardJob",
  "ShardResult",
  "Skipped",
  "TooManyBadError",
  "convert",
  "finish",
  "plan_conversion",
  "run_shard",
]


def convert(
  source: str,
  out: str,
  options: ConvertOptions,
  *,
  progress: Callable[[Progress], None] | None = None,
  tell: Callable[[str], None] | None = None,
) -> ConvertSummary:
  """Converts a source to {out}/{split}-00000-of-0000N.array_record and {out}/quarantine.jsonl.

  Every input shard gives one output shard per split: a TFRecord file is one shard, JSONL files are
  divided every so many lines. Recordings at another rate are resampled, channels averaged. Files
  are renamed into place when complete, {split}.manifest.json last. When called again, it converts
  only missing shards and those whose sources or named sound files have changed: the bytes equal
  those of a fresh conversion.

  Args:
    source: a file, a folder or a glob; local or gs://.
    out: the folder to write to; local or gs://.
    options: how.
    progress: called repeatedly, with one worker after each record.
    tell: called with one line about the source.

  Raises:
    ValueError: nothing is found, an option does not apply to the source, or `out` holds
      another conversion.
    TooManyBadError: over `max_bad_fraction`.
    OSError: reading or writing fails, or another conversion of these splits writes to `out`.
  """
  with sole_converter(out, options.splits):
    return _convert(source, out, options, progress, tell)


def _convert(
  source: str,
  out: str,
  options: ConvertOptions,
  progress: Callable[[Progress], None] | None,
  tell: Callable[[str], None] | None,
) -> ConvertSummary:
  plan = plan_conversion(source, out, options, tell)
  if plan.finished:
    return plan.finished
  results = list(plan.done)
  before = ShardStatus(
    read=sum(result.read for result in results),
    samples=sum(shard.samples for result in results for shard in result.shards),
    bad=sum(result.quarantined for result in results),
  )
  done = {result.index for result in results}
  jobs = [job for job in plan.jobs if job.index not in done]

  def watch(status: ShardStatus) -> bool:
    read, bad = before.read + status.read, before.bad + status.bad
    if progress:
      now = Progress(
        done=(len(done) + status.done * len(jobs)) / len(plan.jobs),
        done_before=len(done) / len(plan.jobs),
        read=read,
        seconds=(before.samples + status.samples) / SAMPLE_RATE,
        quarantined=bad,
      )
      progress(now)
    return not too_many(read, bad, options.max_bad_fraction, ended=False)

  try:
    results += run_jobs(run_shard, jobs, workers=options.workers, watch=watch)
  except JobsStopped as stop:
    reasons = [reason for result in results for reason in result.reasons] + stop.status.reasons
    raise error_of(
      before.read + stop.status.read,
      before.bad + stop.status.bad,
      options.max_bad_fraction,
      reasons[:REASONS_SHOWN],
    ) from None
  return finish(plan, results)
