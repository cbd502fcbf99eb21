"""Running the scripts of data/ and reading what they wrote, for tests."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator

from maxtext_ext.records.manifest import list_shards, parse_shard_name
from maxtext_ext.records.reader import RecordSource, find_shards
from maxtext_ext.records.schema import Record, decode_example

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def run(script: str, *args: object, ok: bool = True, **environment: str) -> str:
  """Runs a script; returns its output, of a failure the last lines of stderr."""
  process = subprocess.run(
    [sys.executable, os.path.join(ROOT, "data", script), *map(str, args)],
    capture_output=True,
    text=True,
    timeout=600,
    env={
      **{key: value for key, value in os.environ.items() if not key.startswith("HF_")},
      "PYTHONPATH": ROOT,
      **environment,
    },
  )
  assert (process.returncode == 0) == ok, process.stderr
  assert "Traceback" not in process.stderr
  return process.stdout if ok else process.stderr


def counts(printed: str) -> dict[str, tuple[int, ...]]:
  """The whole numbers of each row of the table: read, written, quarantined, left out, splits."""
  rows = {}
  for line in printed.splitlines():
    if match := re.fullmatch(
      r"\s*([a-z0-9-]+ [a-z]+)\s+((?:[\d,]+\s+)+?)[\d.,]+ (?:s|min|h \d+ min)\s*", line
    ):
      rows[match[1]] = tuple(int(each.replace(",", "")) for each in match[2].split())
  return rows


def read(folder: object, split: str) -> list[Record]:
  """The records of a split, in order."""
  source = RecordSource(find_shards(str(folder), split))
  return [decode_example(source[index]) for index in range(len(source))]


def shard_counts(folder: object) -> dict[str, int]:
  """Number of shards of each split."""
  names = [parse_shard_name(path) for path in list_shards(str(folder))]
  return {name[0]: name[2] for name in names if name}


def read_lines(path: object) -> Iterator[dict[str, str]]:
  """The lines of a JSONL file."""
  with open(str(path), encoding="utf-8") as file:
    yield from map(json.loads, file)


def snapshot(folder: object) -> dict[str, tuple[int, int]]:
  """Time and inode of every file below a folder."""
  found = {}
  for parent, _, names in os.walk(str(folder)):
    for name in names:
      path = os.path.join(parent, name)
      status = os.stat(path)
      found[path] = (status.st_mtime_ns, status.st_ino)
  return found
