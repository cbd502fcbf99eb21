"""Division of files into output shards: at rows where files can be cut, else as whole files."""

import dataclasses
import itertools
from collections.abc import Sequence

from maxtext_ext.sources.options import SourceOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowRange:
  """Some consecutive rows of a file, from 0."""

  path: str
  first: int
  count: int


def cut_rows(files: Sequence[tuple[str, int]], options: SourceOptions) -> list[list[RowRange]]:
  """Cuts all rows, one file after the other, into shards that hold every row once and in order.

  Args:
    files: path and number of rows.
    options: `shards`, of which each gets as many rows as the next or one more; or else
      `records_per_shard`, of which the last shard may have fewer.

  Raises:
    ValueError: fewer rows than shards.
  """
  total = sum(rows for _, rows in files)
  if options.shards is None:
    ends = [*range(options.records_per_shard, total, options.records_per_shard), total]
  elif options.shards <= total:
    ends = [total * (index + 1) // options.shards for index in range(options.shards)]
  else:
    raise ValueError(f"shards is {options.shards}, but there are only {total} records; ask fewer")
  shards: list[list[RowRange]] = [[]]
  position = 0
  for path, rows in files:
    first = 0
    while first < rows:
      if position == ends[len(shards) - 1]:
        shards.append([])
      count = min(rows - first, ends[len(shards) - 1] - position)
      shards[-1].append(RowRange(path=path, first=first, count=count))
      first, position = first + count, position + count
  return shards if total else []


def group_files(paths: Sequence[str], shards: int | None) -> list[tuple[str, ...]]:
  """Puts neighbouring files together, where they cannot be cut.

  Args:
    paths: the files.
    shards: how many groups, of which each gets as many files as the next or one more; None: each
      file is its own.

  Raises:
    ValueError: fewer files than shards.
  """
  count = len(paths) if shards is None else shards
  if count > len(paths):
    raise ValueError(
      f"shards is {count}, but there are only {len(paths)} files, which cannot be cut; ask fewer"
    )
  ends = [len(paths) * index // count for index in range(count + 1)]
  return [tuple(paths[first:end]) for first, end in itertools.pairwise(ends)]
