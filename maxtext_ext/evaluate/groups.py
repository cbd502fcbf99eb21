"""Groups of hypotheses by a field of their lines, or by a bucket of their duration."""

import itertools
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from maxtext_ext.evaluate.hypothesis import FIELDS, Hypothesis

UNSPECIFIED = "unspecified"  # the group of utterances without the field
ALWAYS = ("language", "dataset")
DURATION = "duration"
_EDGES = (5, 10, 20, 30)  # seconds
_BUCKETS = (
  f"under {_EDGES[0]} s",
  *(f"{low} to {high} s" for low, high in itertools.pairwise(_EDGES)),
  f"{_EDGES[-1]} s and more",
)


def group(hypotheses: Sequence[Hypothesis], field: str) -> dict[str, np.ndarray]:
  """Groups hypotheses by a field, "duration" by buckets of it; a group is an array of indices.

  Names are in alphabetical order, buckets by length.

  Raises:
    ValueError: no hypothesis has the field.
  """
  if field == DURATION:
    labels = [bucket(item.duration) for item in hypotheses]
    names: Sequence[str] = (*_BUCKETS, UNSPECIFIED)
  else:
    labels = [label(item.field(field)) for item in hypotheses]
    names = sorted(set(labels), key=_natural)
    if names == [UNSPECIFIED] and field not in ALWAYS:
      known = sorted(FIELDS.union(*(item.extra for item in hypotheses)))
      raise ValueError(f"no hypothesis has a field {field!r}; they have {', '.join(known)}")
  members: dict[str, list[int]] = {name: [] for name in names}
  for index, name in enumerate(labels):
    members[name].append(index)
  return {name: np.array(indices) for name, indices in members.items() if indices}


def _natural(name: str) -> list[tuple[int, str]]:
  """Returns a key that sorts s2 before s10."""
  parts = re.split(r"([0-9]+)", name)
  return [(int(part), "") if place % 2 else (-1, part) for place, part in enumerate(parts)]


def bucket(seconds: float) -> str:
  """Returns the name of the bucket of a duration; 0 stands for an unknown one."""
  return UNSPECIFIED if not seconds else _BUCKETS[sum(seconds >= edge for edge in _EDGES)]


def label(value: Any) -> str:
  """Returns the name of the group of a field's value."""
  if value is None or value == "":
    return UNSPECIFIED
  text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
  return text.encode("utf-8", "backslashreplace").decode()
