"""What a conversion moves: the rules that fit a checkpoint, and the pieces of its tensors."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import ml_dtypes
import numpy as np
import pydantic

from maxtext_ext.checkpoint.hf_io import HfReader
from maxtext_ext.checkpoint.keymap import (
  Family,
  Place,
  Rule,
  Sizes,
  check_names,
  count_places,
  places_by_name,
)
from maxtext_ext.checkpoint.orbax_io import ArraySpec
from maxtext_ext.files import foreign_json

_StoredType = Literal["float32", "float16", "bfloat16"]
DTYPES = {
  "float32": np.dtype(np.float32),
  "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
PIECE_VALUES = 2 * 2**20  # read, transposed and written at a time


class Record(foreign_json.Schema):
  """Record in conversion.json: what converting back needs and the parameters do not tell.

  Attributes:
    dtype: that most tensors came with.
    other_dtypes: those of the others, by name.
    skipped: names of the tensors that were left out.
  """

  model_config = pydantic.ConfigDict(extra="ignore", strict=True, frozen=True)

  family: str
  naming: str
  tied_head_stored: bool
  dtype: _StoredType
  other_dtypes: dict[str, _StoredType]
  skipped: list[str]


@dataclass(frozen=True, kw_only=True)
class Report:
  """What a conversion did.

  Attributes:
    family: the kind of model.
    naming: the names of the Hugging Face side.
    tensors, nbytes: of the Hugging Face side, without the skipped ones.
    skipped: names that were left out on purpose.
    head: what became of the output head: "tied", "tied, stored", or "untied".
    nonfinite: NaN and infinite values by tensor, which were asked for.
  """

  family: str
  naming: str
  tensors: int
  nbytes: int
  skipped: tuple[str, ...]
  head: str
  nonfinite: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Plan:
  """What is to be read from a Hugging Face checkpoint; `rules` in their scanned form."""

  family: Family
  naming: str
  sizes: Sizes
  rules: list[Rule]
  tied: bool
  stored_head: str | None
  skipped: tuple[str, ...]

  def kept(self, reader: HfReader) -> list[str]:
    """Names of the tensors that are converted, a stored tied head included."""
    return sorted(reader.tensors.keys() - set(self.skipped))

  def report(self, reader: HfReader, nonfinite: Mapping[str, int]) -> Report:
    """What is said at the end."""
    names = self.kept(reader)
    return Report(
      family=self.family.name,
      naming=self.naming,
      tensors=len(names),
      nbytes=sum(reader.tensors[name].nbytes for name in names),
      skipped=self.skipped,
      head="untied" if not self.tied else "tied, stored" if self.stored_head else "tied",
      nonfinite=nonfinite,
    )

  def record(self, reader: HfReader) -> Record:
    """Returns the content of conversion.json."""
    dtypes: dict[str, Any] = {
      name: reader.tensors[name].numpy_dtype.name for name in self.kept(reader)
    }
    usual = Counter(dtypes.values()).most_common(1)[0][0]
    return Record(
      family=self.family.name,
      naming=self.naming,
      tied_head_stored=self.stored_head is not None,
      dtype=usual,
      other_dtypes={name: dtype for name, dtype in dtypes.items() if dtype != usual},
      skipped=list(self.skipped),
    )


def plan_from_hf(family: Family, reader: HfReader, model: Mapping[str, Any], source: str) -> Plan:
  """Which rules fit the tensors that are there; raises KeyTableError where none do."""
  skipped = tuple(sorted(name for name in reader.tensors if family.skipped(name)))
  left_out = frozenset(skipped)
  found = {name: info.shape for name, info in reader.tensors.items() if name not in left_out}
  sizes = family.sizes(model)
  counts = [count_places(family.rules(naming, True), sizes) for naming in family.namings]
  if not any(_comparable(count, len(found)) for count in counts):
    raise ValueError(
      f"{source}: {len(found)} tensors, but config.json describes a model of {counts[0]}"
    )
  naming = family.naming_of(found)
  tied, stored_head = bool(model["logits_via_embedding"]), None
  if tied and family.tied_head is not None and (head := family.tied_head(naming)).hf in found:
    embedding = next(rule.hf for rule in family.rules(naming, True) if rule.ours == head.ours)
    tied = found.get(embedding) == found[head.hf] and _equal(reader, embedding, head.hf)
    stored_head = head.hf if tied else None
  rules = family.rules(naming, tied)
  expected = {name: p[0].rule.hf_shape(sizes) for name, p in places_by_name(rules, sizes).items()}
  if stored_head is not None:
    expected[stored_head] = found[stored_head]
  check_names(expected, found, source)
  return Plan(
    family=family,
    naming=naming,
    sizes=sizes,
    rules=rules,
    tied=tied,
    stored_head=stored_head,
    skipped=skipped,
  )


def _comparable(one: int, other: int) -> bool:
  """Whether two numbers of tensors are near enough for their differences to be listed."""
  few, many = sorted((one, other))
  return many <= 2 * few + 100


def _equal(reader: HfReader, one: str, other: str) -> bool:
  """Whether two tensors of one shape hold the same bytes."""
  first, second = reader.tensors[one], reader.tensors[other]
  if first.dtype != second.dtype:
    return False
  step = max(1, PIECE_VALUES // max(1, math.prod(first.shape[1:])))
  return all(
    reader.read(one, slice(i, i + step)).tobytes()
    == reader.read(other, slice(i, i + step)).tobytes()
    for i in range(0, first.shape[0], step)
  )


def _units_a_piece(rule: Rule, sizes: Sizes) -> int:
  """How many units of the first axis of a rule's Hugging Face tensors are moved at a time."""
  unit = rule.unit(sizes) * math.prod(rule.hf_shape(sizes)[1:])
  return max(1, PIECE_VALUES // unit)


def pieces(place: Place, sizes: Sizes) -> Iterator[tuple[slice, slice]]:
  """Rows of a Hugging Face tensor, and which units of its first axis they are."""
  unit = place.rule.unit(sizes)
  units = place.rule.hf_shape(sizes)[0] // unit
  step = _units_a_piece(place.rule, sizes)
  for first in range(0, units, step):
    last = min(first + step, units)
    yield slice(first * unit, last * unit), slice(first, last)


def array_specs(
  rules: Sequence[Rule], sizes: Sizes, reader: HfReader, dtype: str
) -> dict[str, ArraySpec]:
  """Our arrays; every piece is one chunk of its array.

  Args:
    dtype: float32, bfloat16, or "stored": bfloat16 where all that goes into an array has it, and
      float32, which holds the others exactly.
  """
  stored: dict[str, set[np.dtype]] = {}
  specs = {}
  for rule in rules:
    shape, step = rule.our_shape(sizes), _units_a_piece(rule, sizes)
    part = {axis: 1 for axis in rule.our_axes if axis not in rule.hf_axes}
    part[rule.hf_axes[0]] = step
    chunks = [
      min(part.get(axis, size), size) for axis, size in zip(rule.our_axes, shape, strict=True)
    ]
    for place in rule.places(sizes):
      stored.setdefault(place.path, set()).add(reader.tensors[place.hf].numpy_dtype)
      all_bfloat16 = stored[place.path] == {DTYPES["bfloat16"]}
      exact = "bfloat16" if all_bfloat16 else "float32"
      target = DTYPES[exact if dtype == "stored" else dtype]
      specs[place.path] = ArraySpec(shape=shape, chunks=tuple(chunks), dtype=target)
  return specs
