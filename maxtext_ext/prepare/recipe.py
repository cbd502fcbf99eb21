"""Description of a recipe's source: its place, columns and splits."""

import dataclasses
from collections.abc import Callable

from maxtext_ext.prepare.select import ChangeSelect, Select
from maxtext_ext.prepare.split import Split


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
  """Published counts of a split; hours where the corpus gives more than a round figure."""

  records: int
  hours: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
  """Split of a source.

  Attributes:
    split: its name in the source.
    to: the split that it becomes, or the shares that it is divided into.
    shards: output shards of each resulting split; None: by size.
    config: of several subsets on the hub; None: that of the source.
    published: what its counts are compared with.
  """

  split: str
  to: str | Split
  shards: int | None = None
  config: str | None = None
  published: Published | None = None

  @property
  def label(self) -> str:
    """Its name in reports: where several configs have a split of this name, that of the result."""
    return self.to if self.config and isinstance(self.to, str) else self.split

  @property
  def splits(self) -> tuple[str, ...]:
    """Names of the splits that it becomes."""
    return (self.to,) if isinstance(self.to, str) else self.to.parts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
  """Corpus of a recipe.

  Attributes:
    name: of its folder, of its data set in an experiment's `mixture`, and of its option.
    hub: its id on the Hugging Face Hub.
    config: of several subsets there, "*" for all.
    dataset_name: that its records carry.
    language: of its records.
    audio_key, text_key, id_key: its columns; an id of several columns has commas between them.
    parts: its splits.
    overhang_seconds, whisper_segments, buckwalter, group, by_text: see Select.
    change: see ChangeSelect; empty: none.
    locate: finds a part in forms other than parquet, given a place and the folder of the shards:
      returns format and place for `conversion.convert`, or None for parquet.
    terms: what access to it requires, said where the hub refuses it.
  """

  name: str
  hub: str
  config: str | None = None
  dataset_name: str
  language: str
  audio_key: str = "audio"
  text_key: str
  id_key: str | None = None
  parts: tuple[Part, ...]
  overhang_seconds: float = 0.0
  whisper_segments: bool = False
  buckwalter: bool = False
  group: str | None = None
  by_text: bool = False
  change: str = ""
  locate: Callable[[str, Part, str], tuple[str, str] | None] | None = None
  terms: str = ""

  def select(self, part: Part, *, min_seconds: float, max_seconds: float) -> Select:
    """Returns the selector of one of its parts."""
    select = Select(
      to=part.to,
      language=self.language,
      min_seconds=min_seconds,
      max_seconds=max_seconds,
      overhang_seconds=self.overhang_seconds,
      whisper_segments=self.whisper_segments,
      buckwalter=self.buckwalter,
      group=self.group,
      by_text=self.by_text,
    )
    return ChangeSelect(**vars(select), change=self.change) if self.change else select
