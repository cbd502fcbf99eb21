"""Why records were left out, in a few lines."""

import dataclasses
import re
from collections import Counter

from maxtext_ext.records.quarantine import as_text, read_lines

# What differs between records with the same thing wrong: numbers, and what stands in quotes.
_PARTICULAR = re.compile(r"'[^']*'|\"[^\"]*\"|\d+(?:\.\d+)?")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reason:
  """Records of a split that a conversion left out for one reason.

  Attributes:
    count: how many.
    example: the first of them: file, position and reason.
  """

  split: str
  count: int
  example: str


def read_reasons(path: str) -> list[Reason]:
  """Summarises a quarantine file, most frequent reasons first; nothing for no such file.

  Raises:
    ValueError: the file is of another kind.
  """
  counts: Counter[tuple[str, str]] = Counter()
  examples: dict[tuple[str, str], str] = {}
  for line in read_lines(path):
    key = (line["split"], _PARTICULAR.sub("#", str(line["reason"])))
    counts[key] += 1
    if counts[key] == 1:
      examples[key] = as_text(line)
  return [
    Reason(split=key[0], count=count, example=examples[key]) for key, count in counts.most_common()
  ]
