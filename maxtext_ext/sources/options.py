"""User options of a source: how it is cut, and defaults for fields that its records lack."""

import dataclasses
from collections.abc import Iterable

from maxtext_ext.text.languages import NO_LANGUAGE, language_name

RECORDS_PER_SHARD = 1_000  # some 300 MB of float samples: few files, yet enough for many hosts


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceOptions:
  """Options of reading a source.

  Attributes:
    records_per_shard: of a source that is not cut into shards by its own files.
    shards: so many output shards instead; None: by `records_per_shard`, or one a file.
    audio_key, text_key, id_key: name of the column or member; None: the usual names of the format.
    language: of records that do not say theirs, a code or a name; kept as the models' name.
    dataset_name: of records that do not say theirs.
    allow_urls: whether sound files that records name may be fetched from the web.
    allow_empty_text: whether a text may be "", as that of noise among the clips of a benchmark; a
      record without a text is refused as ever.
  """

  records_per_shard: int = RECORDS_PER_SHARD
  shards: int | None = None
  audio_key: str | None = None
  text_key: str | None = None
  id_key: str | None = None
  language: str | None = None
  dataset_name: str = ""
  # Not in the identity of a conversion: which files were fetched is noted with each shard.
  allow_urls: bool = dataclasses.field(default=False, repr=False)
  allow_empty_text: bool = dataclasses.field(default=False, repr=False)  # of no conversion

  def __post_init__(self) -> None:
    for name in ("records_per_shard", "shards"):
      value = getattr(self, name)
      if value is not None and value < 1:
        raise ValueError(f"{name} is {value}, expected 1 or more")
    if self.language is not None:
      name = language_name(self.language)
      object.__setattr__(self, "language", None if name == NO_LANGUAGE else name)

  def named(self) -> list[str]:
    """Names of the fields that differ from their defaults."""
    return [
      field.name for field in dataclasses.fields(self) if getattr(self, field.name) != field.default
    ]


EVERY_OPTION = frozenset(field.name for field in dataclasses.fields(SourceOptions))
_FLAGS = {"dataset_name": "--dataset"}


def refuse_others(source_format: str, names: Iterable[str], reads: frozenset[str]) -> None:
  """Raises ValueError for options that a format does not read.

  Args:
    source_format: its name.
    names: fields of SourceOptions that the user has given.
    reads: those that it reads.
  """
  if others := [name for name in names if name not in reads]:
    allowed = " ".join(map(flag_of, sorted(reads)))
    raise ValueError(
      f"{' '.join(map(flag_of, others))}: --from {source_format} does not read it, only {allowed}; "
      "leave it out"
    )


def flag_of(name: str) -> str:
  """Returns the command-line flag of a field of SourceOptions."""
  return _FLAGS.get(name, "--" + name.replace("_", "-"))
