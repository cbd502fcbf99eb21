"""Cutting laws: the shards hold every row once, in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.sources.options import SourceOptions
from maxtext_ext.sources.sharding import cut_rows, group_files

counts = st.lists(st.integers(0, 30), max_size=6)


@given(counts, st.integers(1, 12), st.none() | st.integers(1, 12))
def test_every_row_once_and_in_order(rows, per_shard, shards):
  files = [(f"f{index}", count) for index, count in enumerate(rows)]
  expected = [(path, row) for path, count in files for row in range(count)]
  options = SourceOptions(records_per_shard=per_shard, shards=shards)
  if shards and shards > len(expected):
    with pytest.raises(ValueError, match=f"shards is {shards}, but there are only"):
      cut_rows(files, options)
    return
  cut = cut_rows(files, options)
  held = [
    [(part.path, part.first + row) for part in shard for row in range(part.count)] for shard in cut
  ]
  assert [row for shard in held for row in shard] == expected
  assert all(part.count for shard in cut for part in shard)
  sizes = [len(shard) for shard in held]
  if shards:
    assert len(sizes) == shards and max(sizes) - min(sizes) <= 1
  elif sizes:
    assert set(sizes[:-1]) <= {per_shard} and 0 < sizes[-1] <= per_shard


@given(st.lists(st.text(), max_size=20), st.integers(1, 20))
def test_files_are_grouped_in_order(paths, shards):
  if shards > len(paths):
    with pytest.raises(ValueError, match=f"shards is {shards}, but there are only"):
      group_files(paths, shards)
    return
  groups = group_files(paths, shards)
  assert [path for group in groups for path in group] == paths
  sizes = [len(group) for group in groups]
  assert len(sizes) == shards and max(sizes) - min(sizes) <= 1


def test_each_file_is_a_group():
  assert group_files(["a", "b"], None) == [("a",), ("b",)]
