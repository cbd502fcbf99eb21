"""Converts the sources of a list, one after the other, and notes what came of each.

A process of its own: python -m tests.sources.fuzz.convert_cases JOBS RESULTS. JOBS is JSON, a list
of {"name", "format", "source", "out"}. RESULTS gets a JSON line for each, as soon as it is done.
"""

import faulthandler
import json
import resource
import sys
import time
from typing import Any

import numpy as np

from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.conversion.convert import ConvertOptions, convert
from maxtext_ext.records.quarantine import read_lines
from maxtext_ext.records.reader import RecordSource
from maxtext_ext.records.schema import Record, decode_example

_HANGS_AFTER = 60  # seconds of waiting; what it may take is measured in processor time


def main(jobs_path: str, results_path: str) -> None:
  with open(jobs_path) as file:
    jobs = json.load(file)
  with open(results_path, "a") as results:
    for job in jobs:
      faulthandler.dump_traceback_later(_HANGS_AFTER, exit=True)
      results.write(json.dumps({"name": job["name"]} | _measure(job)) + "\n")
      results.flush()
      faulthandler.cancel_dump_traceback_later()


def _measure(job: dict[str, str]) -> dict[str, Any]:
  before, start = _peak_mib(), time.process_time()
  found = _convert(job)
  return found | {
    "seconds": time.process_time() - start,
    "peak_mib": _peak_mib(),
    "peak_mib_before": before,
  }


def _convert(job: dict[str, str]) -> dict[str, Any]:
  options = ConvertOptions(source_format=job["format"], max_bad_fraction=1.0)
  try:
    summary = convert(job["source"], job["out"], options)
  except ValueError as error:  # any other ends the process, which is noticed
    return {"error": f"{type(error).__name__}: {error}"}
  shards = RecordSource(summary.shards) if summary.written else ()
  return {
    "read": summary.read,
    "written": summary.written,
    "quarantined": summary.quarantined,
    "bad": [[line["id"], line["reason"]] for line in read_lines(f"{job['out']}/quarantine.jsonl")],
    "reasons": summary.reasons,
    "good": [_describe(decode_example(shards[index])) for index in range(len(shards))],
  }


def _describe(record: Record) -> dict[str, Any]:
  """Features that tell a tone from another, a louder or a longer one."""
  audio = record.as_float32()
  spectrum = np.abs(np.fft.rfft(audio))
  return {
    "id": record.sample_id,
    "text": record.text,
    "seconds": record.seconds,
    "hertz": float(np.argmax(spectrum) * SAMPLE_RATE / len(audio)),
    "peak": float(np.abs(audio).max()),
  }


def _peak_mib() -> float:
  kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return kibibytes / 1024


if __name__ == "__main__":
  main(*sys.argv[1:])
