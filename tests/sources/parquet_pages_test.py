"""Columns of bytes page by page, against Arrow's reader."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxtext_ext.sources import parquet_pages
from maxtext_ext.sources.parquet_pages import PageError, has_large_pages, read_values

AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
CODECS = ["none", "snappy", "zstd", "gzip", "brotli"]

values = st.none() | st.binary(max_size=12) | st.integers(0, 5_000).map(lambda size: b"ab" * size)
writers = st.fixed_dictionaries(
  {
    "compression": st.sampled_from(CODECS),
    "use_dictionary": st.booleans(),
    "data_page_version": st.sampled_from(["1.0", "2.0"]),
    "data_page_size": st.sampled_from([1, 100, 1 << 20]),
    "write_batch_size": st.sampled_from([1, 7, 1_024]),
    "row_group_size": st.sampled_from([5, 1_000]),
    "dictionary_pagesize_limit": st.sampled_from([20, 1 << 20]),
    "write_statistics": st.booleans(),
  }
)


def read(path: str, begin: int = 0, end: int | None = None) -> list[bytes | None]:
  """All values of audio.bytes, or some of each row group."""
  found = []
  with open(path, "rb") as file:
    parquet = pq.ParquetFile(path)
    level = parquet.schema.column(0).max_definition_level
    for group in range(parquet.num_row_groups):
      rows = parquet.metadata.row_group(group).num_rows
      chunk = parquet.metadata.row_group(group).column(0)
      last = rows if end is None else min(end, rows)
      found += read_values(file, chunk, level, min(begin, last), last)
  return found


@settings(max_examples=100, deadline=None)
@given(st.lists(values, min_size=1, max_size=40), writers)
def test_same_as_arrow(tmp_path_factory, rows, options):
  path = str(tmp_path_factory.mktemp("pages") / "x.parquet")
  audio = [None if i % 7 == 6 else {"bytes": row, "path": "x"} for i, row in enumerate(rows)]
  pq.write_table(pa.table({"audio": pa.array(audio, AUDIO)}), path, **options)
  assert read(path) == [row and row["bytes"] for row in audio]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_some_rows(tmp_path_factory, data):
  path = str(tmp_path_factory.mktemp("pages") / "x.parquet")
  rows = [None if i % 5 == 2 else b"%d" % (i % 11) * (i % 4) for i in range(50)]
  options = data.draw(writers) | {"row_group_size": 50}
  pq.write_table(pa.table({"audio": pa.array(rows)}), path, **options)
  begin = data.draw(st.integers(0, 49))
  end = data.draw(st.integers(begin + 1, 50))
  assert read(path, begin, end) == rows[begin:end]


def test_values_that_may_not_be_null(tmp_path):
  path = str(tmp_path / "x.parquet")
  schema = pa.schema([pa.field("audio", pa.binary(), nullable=False)])
  for version in ("1.0", "2.0"):
    pq.write_table(pa.table({"audio": [b"a", b"bc"]}, schema), path, data_page_version=version)
    assert read(path) == [b"a", b"bc"]


def test_a_dictionary_of_one_value(tmp_path):
  """Its indexes have no bits."""
  path = str(tmp_path / "x.parquet")
  pq.write_table(pa.table({"audio": [b"same"] * 100}), path)
  assert read(path) == [b"same"] * 100


@pytest.mark.parametrize(
  ("options", "is_large"),
  [
    ({}, True),
    ({"use_dictionary": False, "compression": "none"}, True),
    ({"data_page_version": "2.0", "use_dictionary": False, "compression": "zstd"}, True),
    ({"use_dictionary": False, "write_batch_size": 1, "data_page_size": 1 << 16}, False),
    ({"compression": "lz4"}, False),  # which cannot be unpacked piece by piece
    ({"use_dictionary": False, "column_encoding": "DELTA_LENGTH_BYTE_ARRAY"}, False),
  ],
)
def test_large_pages_are_found(tmp_path, monkeypatch, options, is_large):
  monkeypatch.setattr(parquet_pages, "_LARGE_PAGE", 1 << 20)
  path = str(tmp_path / "x.parquet")
  rows = [np.random.default_rng(row).bytes(100_000) for row in range(20)]
  pq.write_table(pa.table({"audio": rows, "text": ["x"] * 20}), path, **options)
  group = pq.ParquetFile(path).metadata.row_group(0)
  with open(path, "rb") as file:
    assert has_large_pages(file, group.column(0)) == is_large
    assert not has_large_pages(file, group.column(1))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_is_told_or_harmless(tmp_path_factory, data):
  path = tmp_path_factory.mktemp("pages") / "x.parquet"
  rows = [b"%d" % row * 40 for row in range(30)]
  pq.write_table(pa.table({"audio": rows}), path, **data.draw(writers) | {"row_group_size": 30})
  parquet = pq.ParquetFile(path)
  chunk = parquet.metadata.row_group(0).column(0)
  content = bytearray(path.read_bytes())
  for _ in range(data.draw(st.integers(1, 3))):
    content[data.draw(st.integers(4, 4 + chunk.total_compressed_size - 1))] = data.draw(
      st.integers(0, 255)
    )
  path.write_bytes(content)
  with open(path, "rb") as file:
    try:
      found = list(read_values(file, chunk, 1, 0, 30))
    except PageError:
      return
  assert len(found) == 30


MEASURE = """
import resource, sys
from maxtext_ext.sources.options import SourceOptions
from tests.sources.opening import opener
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
entries = [entry.reason for shard in opener("parquet")(sys.argv[1], SourceOptions())
           for entry in shard.entries()]
assert len(entries) == 300 and all("text is missing" in entry for entry in entries)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.integration_test
@pytest.mark.parametrize("use_dictionary", [True, False])
def test_memory_does_not_depend_on_the_page(tmp_path, use_dictionary):
  """A page of 300 MB, of which Arrow alone would hold three times as much."""
  path = str(tmp_path / "x.parquet")
  rows = [{"bytes": np.random.default_rng(row).bytes(1_000_000)} for row in range(300)]
  table = pa.table({"audio": rows, "text": [" "] * 300})
  pq.write_table(table, path, use_dictionary=use_dictionary)
  run = subprocess.run(
    [sys.executable, "-c", MEASURE, path], check=True, capture_output=True, text=True
  )
  assert int(run.stdout) < 150_000  # KiB
