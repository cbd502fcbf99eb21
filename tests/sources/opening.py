"""Opening a source of a format, as a conversion does."""

from collections.abc import Callable

from maxtext_ext.sources import formats
from maxtext_ext.sources.entry import Bad, Good, InputShard
from maxtext_ext.sources.options import SourceOptions


def opener(name: str) -> Callable[..., list[InputShard]]:
  """A function that divides a source of this format among shards."""

  def open_shards(
    source: str, options: SourceOptions | None = None, split: str | None = None
  ) -> list[InputShard]:
    form = formats.load_format(name)
    return list(form.open_files(form.find_files(source, split), options or SourceOptions()))

  return open_shards


def read_entries(name: str, source: object, split: str | None = None, **options: object) -> list:
  """All entries of a source."""
  shards = opener(name)(str(source), SourceOptions(**options), split)
  return [entry for shard in shards for entry in shard.entries()]


def outcomes(entries: list[Good | Bad]) -> list[tuple[str, str]]:
  """Id, and text or reason, of each entry."""
  return [
    (entry.record.sample_id, entry.record.text)
    if isinstance(entry, Good)
    else (entry.sample_id, entry.reason)
    for entry in entries
  ]
