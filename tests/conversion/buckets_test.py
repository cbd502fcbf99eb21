"""Whole conversions from a bucket to a bucket, and back: the bytes are those of local folders."""

import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from maxtext_ext.conversion import convert as engine
from maxtext_ext.conversion.convert import ConvertOptions
from maxtext_ext.records.schema import Record, encode_example
from maxtext_ext.sources.tfrecord import write_tfrecord

OPTIONS = ConvertOptions(source_format="tfrecord", max_bad_fraction=1.0)


def encoded(sample_id: str, seconds: float) -> bytes:
  audio = np.random.default_rng(len(sample_id)).normal(0, 0.1, int(seconds * 16_000))
  return encode_example(Record(sample_id=sample_id, audio=audio.astype(np.float32), text="hi"))


@pytest.fixture
def source(tmp_path, gcs):
  """A folder, and the same in the bucket: a large shard, a small one, bad records, a duplicate."""
  folder = tmp_path / "in"
  large = [encoded(f"large {i:02d}", seconds=9.0) for i in range(12)]
  write_tfrecord(str(folder / "a.tfrecord"), [*large, b"junk"])
  write_tfrecord(str(folder / "b.tfrecord"), [encoded("small", seconds=0.5), large[3]])
  for path in folder.iterdir():
    gcs.put(f"gs://bucket/in/{path.name}", path.read_bytes())
  return str(folder)


def without_paths(files: dict[str, bytes], source: str) -> dict[str, bytes]:
  """Files of a conversion, but for the names of its input and what they decide on."""
  files = {name: data.replace(source.encode(), b"SOURCE") for name, data in files.items()}
  for name, data in files.items():
    if name.endswith(".manifest.json"):
      content = json.loads(data)
      del content["conversion"]
      files[name] = json.dumps(content).encode()
    elif re.fullmatch(r".*/\d+\.json", name):
      files[name] = json.dumps(json.loads(data) | {"fingerprint": ""}).encode()
  return files


def contents(folder: Path) -> dict[str, bytes]:
  return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_from_a_bucket_to_a_bucket(source, gcs, tmp_path):
  engine.convert(source, str(tmp_path / "out"), OPTIONS)
  expected = without_paths(contents(tmp_path / "out"), source)
  assert "train-00001-of-00002.array_record" in expected
  summary = engine.convert("gs://bucket/in", "gs://bucket/out", OPTIONS)
  assert (summary.read, summary.written, summary.quarantined) == (15, 13, 2)
  assert without_paths(gcs.files("gs://bucket/out"), "gs://bucket/in") == expected
  assert engine.convert("gs://bucket/in", "gs://bucket/out", OPTIONS).repeated
  engine.convert("gs://bucket/in/*.tfrecord", str(tmp_path / "down"), OPTIONS)
  assert without_paths(contents(tmp_path / "down"), "gs://bucket/in") == expected
  engine.convert(source, "gs://bucket/up", OPTIONS)
  assert without_paths(gcs.files("gs://bucket/up"), source) == expected
  assert set(gcs.buckets["bucket"]) == {
    *(f"in/{name}.tfrecord" for name in "ab"),
    *(f"{folder}/{name}" for folder in ("out", "up") for name in expected),
  }


@pytest.mark.integration_test
def test_killed_in_an_upload(source, gcs, tmp_path):
  """No shard is there before it is whole, and the next run ends with the same bytes."""
  begun, dead = threading.Event(), threading.Event()

  def hold() -> None:
    begun.set()
    dead.wait()

  gcs.on_long_body = hold
  command = [sys.executable, "-m", "maxtext_ext.cli", "data", "convert", "--from", "tfrecord"]
  command += ["gs://bucket/in", "gs://bucket/out", "--max-bad-fraction", "1", "--workers", "2"]
  process = subprocess.Popen(command, stderr=subprocess.PIPE)
  assert begun.wait(600), process.communicate()
  process.kill()
  process.communicate()
  dead.set()
  assert "train-00000-of-00002.array_record" not in gcs.files("gs://bucket/out")
  gcs.on_long_body = lambda: None
  engine.convert("gs://bucket/in", "gs://bucket/out", OPTIONS)
  engine.convert("gs://bucket/in", "gs://bucket/whole", OPTIONS)
  assert gcs.files("gs://bucket/out") == gcs.files("gs://bucket/whole")


@pytest.mark.integration_test
def test_a_bucket_that_is_not_there(gcs):
  command = [sys.executable, "-m", "maxtext_ext.cli", "data", "convert", "gs://none/in", "out"]
  result = subprocess.run(command, capture_output=True, text=True, check=False)
  assert result.returncode == 2
  assert result.stderr.startswith("error: gs://none/in: no ") and result.stderr.count("\n") == 1
