"""The Beam engine writes what the local one writes, byte for byte."""

import errno
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from maxtext_ext.conversion import beam
from maxtext_ext.conversion import convert as local
from maxtext_ext.conversion.convert import ConvertOptions, ConvertSummary
from maxtext_ext.conversion.selector import Selected, Skipped
from maxtext_ext.records.schema import Record, encode_example
from maxtext_ext.sources.tfrecord import write_tfrecord

pytest.importorskip("apache_beam")

RAMP = np.linspace(-0.5, 0.5, 1600, dtype=np.float32)


def encoded(sample_id: str, seconds: float = 0.1) -> bytes:
  audio = np.resize(RAMP, int(seconds * 16_000))
  return encode_example(Record(sample_id=sample_id, audio=audio, text="hi"))


def write_source(folder: Path) -> str:
  """Three shards: bad records in two, an id that comes back in its shard and in two others."""
  shards = {
    "a": [encoded("one"), b"junk", encoded("two"), encoded("one")],
    "b": [encoded("three"), encoded("two")],
    "c": [b"", encoded("four"), encoded("one", seconds=0.2), encoded("five")],
  }
  for name, records in shards.items():
    write_tfrecord(str(folder / f"{name}.tfrecord"), records)
  return str(folder)


def options(**changes) -> ConvertOptions:
  return ConvertOptions(**{"source_format": "tfrecord", "max_bad_fraction": 1.0} | changes)


def contents(folder: str) -> dict[str, bytes]:
  """Everything below a folder, also what a conversion should have removed."""
  root = Path(folder)
  return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def facts(summary: ConvertSummary) -> dict:
  fields = vars(summary).copy()
  fields["shards"] = [os.path.basename(shard) for shard in summary.shards]
  return fields


def half(record: Record) -> Selected | Skipped:
  """A selector: two splits, and one that is left out."""
  if record.sample_id == "three":
    return Skipped(reason="unlucky")
  split = "dev" if record.sample_id == "four" else "train"
  return Selected(record=record, split=split)


def to_full_disk(record: Record) -> Selected | Skipped:
  raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
  "changes",
  [{}, {"audio": "pcm16"}, {"selector": half, "splits": ("train", "dev")}],
  ids=["keep", "pcm16", "splits"],
)
def test_equal_to_the_local_engine(tmp_path, changes):
  source = write_source(tmp_path / "in")
  ours, theirs = str(tmp_path / "beam"), str(tmp_path / "local")
  expected = local.convert(source, theirs, options(**changes))
  summary = beam.convert(source, ours, options(**changes))
  assert facts(summary) == facts(expected)
  assert summary.quarantined == 5
  assert contents(ours) == contents(theirs)
  assert beam.convert(source, ours, options(**changes)).repeated


def test_goes_on_where_the_local_engine_stopped(tmp_path):
  source = write_source(tmp_path / "in")
  expected = str(tmp_path / "whole")
  local.convert(source, expected, options())
  out = str(tmp_path / "out")
  job = local.plan_conversion(source, out, options()).jobs[0]
  local.run_shard(job)
  before = os.stat(job.outputs[0]).st_ino
  beam.convert(source, out, options())
  assert contents(out) == contents(expected)
  assert os.stat(job.outputs[0]).st_ino == before  # not written anew


def test_bad_records_above_the_rate(tmp_path):
  source = write_source(tmp_path / "in")
  with pytest.raises(local.TooManyBadError):
    beam.convert(source, str(tmp_path / "out"), options(max_bad_fraction=0.3))
  beam.convert(source, str(tmp_path / "out"), options(max_bad_fraction=0.5))


def to_nowhere(record: Record) -> Selected | Skipped:
  return Selected(record=record, split="nowhere")


def test_failures_on_a_worker_are_one_line(tmp_path, caplog):
  source = write_source(tmp_path / "in")
  with pytest.raises(ValueError, match=r"^the Beam pipeline failed: OSError.* No space.*shard'\]$"):
    beam.convert(source, str(tmp_path / "out"), options(selector=to_full_disk))
  with pytest.raises(ValueError, match=r"^the selector chose split 'nowhere'.*shard'\]$"):
    beam.convert(source, str(tmp_path / "other"), options(selector=to_nowhere))
  assert not caplog.records
  assert logging.root.manager.disable == logging.NOTSET


@pytest.mark.parametrize(
  ("source", "runner", "arguments", "changes", "text"),
  [
    ("in", "DirectRunner", ["--foo=1"], {}, "got --foo, expected options of Apache Beam"),
    ("in", "SlowRunner", [], {}, "Unexpected pipeline runner: SlowRunner"),
    ("in", "DirectRunner", [], {"workers": 2}, "workers is 2, but a Beam runner has options"),
    ("in", "DataflowRunner", [], {}, "in: the workers of Dataflow cannot see it; expected gs://"),
    ("gs://b/in", "DataflowRunner", ["--region=r"], {}, "Dataflow needs --project=PROJECT --temp"),
    (
      "gs://b/in",
      "DataflowRunner",
      ["--project=p", "--region=r", "--temp_location=gs://b/tmp"],
      {},
      "workers of Dataflow have no maxtext_ext: name an image",
    ),
  ],
)
def test_wrong_options(tmp_path, source, runner, arguments, changes, text):
  out = "gs://bucket/out" if source.startswith("gs:") else str(tmp_path)
  with pytest.raises(ValueError, match=text):
    beam.convert(source, out, options(**changes), runner=runner, pipeline_args=arguments)
  assert not list(tmp_path.iterdir())


def test_without_beam(tmp_path, monkeypatch):
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  with pytest.raises(ValueError, match=r"pip install 'maxtext_ext\[beam\]'"):
    beam.convert("in", str(tmp_path), options())


@pytest.mark.integration_test
def test_on_the_command_line(tmp_path, gcs):
  """From a bucket to a bucket, in a process of its own."""
  source = write_source(tmp_path / "in")
  expected = str(tmp_path / "local")
  local.convert(source, expected, options())
  for name, data in contents(source).items():
    gcs.put(f"gs://bucket/in/{name}", data)
  command = [sys.executable, "-m", "maxtext_ext.cli", "data", "convert"]
  command += ["gs://bucket/in", "gs://bucket/out", "--from", "tfrecord", "--engine", "beam"]
  command += ["--max-bad-fraction", "1.0"]
  result = subprocess.run(command, capture_output=True, text=True, check=False)
  assert result.returncode == 0, result.stderr
  assert "read 10 = written 5 + quarantined 5" in result.stdout
  assert "Traceback" not in result.stderr and "WARNING" not in result.stderr
  shards = gcs.files("gs://bucket/out")
  assert sorted(shards) == sorted(contents(expected))
  for name, data in contents(expected).items():
    if name.endswith(".array_record"):
      assert shards[name] == data
