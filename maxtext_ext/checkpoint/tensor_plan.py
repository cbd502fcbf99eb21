"""Plan of a conversion: the rules that fit the checkpoints, and the pieces of their tensors."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from maxtext_ext.checkpoint.safetensors_header import TensorInfo
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
  """Result of a conversion.

  Attributes:
    family: the kind of model.
    naming: the names of the Hugging Face side.
    tensors, nbytes: of the Hugging Face side, without the skipped ones.
    skipped: names that were left out on purpose.
    head: form of the output head: "tied", "tied, stored", or "untied".
    nonfinite: NaN and infinite values by tensor, if allowed.
    origins: where each part of the model comes from, by root of its parameters; empty where all is
      of one checkpoint.
  """

  family: str
  naming: str
  tensors: int
  nbytes: int
  skipped: tuple[str, ...]
  head: str
  nonfinite: Mapping[str, int] = dataclasses.field(default_factory=dict)
  origins: Mapping[str, str] = dataclasses.field(default_factory=dict)


Readers = Mapping[str, HfReader]  # by source


def label(source: str, name: str) -> str:
  """A tensor's name in reports, with its source where there are several."""
  return f"{source}: {name}" if source else name


@dataclass(frozen=True, kw_only=True)
class CheckpointPlan:
  """Tensors to read from Hugging Face checkpoints; `rules` in their scanned form.

  Attributes:
    stored_head: the rule of a tied head that is stored all the same.
    skipped: (source, name) of the tensors that are left out.
  """

  family: Family
  naming: str
  sizes: Sizes
  rules: list[Rule]
  tied: bool
  stored_head: Rule | None
  skipped: tuple[tuple[str, str], ...]

  def kept(self, readers: Readers) -> dict[tuple[str, str], TensorInfo]:
    """The tensors that are converted by (source, name), a stored tied head included."""
    tensors = {
      (source, name): info
      for source, reader in readers.items()
      for name, info in sorted(reader.tensors.items())
    }
    return {key: info for key, info in tensors.items() if key not in set(self.skipped)}

  def report(
    self, readers: Readers, nonfinite: Mapping[str, int], origins: Mapping[str, str]
  ) -> Report:
    """Summary printed at the end."""
    tensors = self.kept(readers)
    return Report(
      family=self.family.name,
      naming=self.naming,
      tensors=len(tensors),
      nbytes=sum(info.nbytes for info in tensors.values()),
      skipped=tuple(label(*key) for key in self.skipped),
      head="untied" if not self.tied else "tied, stored" if self.stored_head else "tied",
      nonfinite=nonfinite,
      origins=origins,
    )

  def record(self, readers: Readers, drawn_dtype: np.dtype) -> Record:
    """Returns the content of conversion.json.

    Args:
      drawn_dtype: of the parts that no checkpoint has.
    """
    tensors = self.kept(readers)
    dtypes: dict[str, Any] = {label(*key): info.numpy_dtype.name for key, info in tensors.items()}
    drawn = [rule for rule in self.rules if rule.source not in readers]
    for place in (place for rule in drawn for place in rule.places(self.sizes)):
      dtypes[label(place.rule.source, place.hf)] = drawn_dtype.name
    usual = Counter(dtypes.values()).most_common(1)[0][0]
    return Record(
      family=self.family.name,
      naming=self.naming,
      tied_head_stored=self.stored_head is not None,
      dtype=usual,
      other_dtypes={name: dtype for name, dtype in dtypes.items() if dtype != usual},
      skipped=[label(*key) for key in self.skipped],
    )


def plan_from_hf(
  family: Family, readers: Readers, model: Mapping[str, Any], given: Mapping[str, str]
) -> CheckpointPlan:
  """Chooses the rules that fit the tensors.

  Args:
    readers: of each source.
    model: keys of model.yml.
    given: the sources as they were given, for messages.

  Raises:
    KeyTableError: a tensor is unknown, missing or misshapen.
    ValueError: config.json is of a model of another size.
  """
  skipped, shapes_of = [], {}
  for source, reader in readers.items():
    kind = family.sources[source]
    skipped += [(source, name) for name in sorted(reader.tensors) if kind.skipped(name)]
    left_out = {name for of, name in skipped if of == source}
    shapes_of[source] = {k: info.shape for k, info in reader.tensors.items() if k not in left_out}
  sizes = family.sizes(model)
  for source, shapes in shapes_of.items():
    counts = [
      count_places(rules_of(family.rules(naming, True, model), source), sizes)
      for naming in family.namings
    ]
    if not any(_comparable(count, len(shapes)) for count in counts):
      raise ValueError(
        f"{given[source]}: {len(shapes)} tensors, but config.json describes a model of {counts[0]}"
      )
  naming = family.naming_of((name for shapes in shapes_of.values() for name in shapes), model)
  tied, stored_head = bool(model["logits_via_embedding"]), None
  head = family.tied_head(naming) if tied and family.tied_head is not None else None
  if head is not None and head.hf in (shapes := shapes_of[head.source]):
    with_embedding = family.rules(naming, True, model)
    embedding = next(rule.hf for rule in with_embedding if rule.ours == head.ours)
    tied = shapes.get(embedding) == shapes[head.hf]
    tied = tied and _equal(readers[head.source], embedding, head.hf)
    stored_head = head if tied else None
  rules = family.rules(naming, tied, model)
  for source, shapes in shapes_of.items():
    places = places_by_name(rules_of(rules, source), sizes)
    expected = {name: p[0].rule.hf_shape(sizes) for name, p in places.items()}
    if stored_head is not None and stored_head.source == source:
      expected[stored_head.hf] = shapes[stored_head.hf]
    check_names(expected, shapes, given[source])
  return CheckpointPlan(
    family=family,
    naming=naming,
    sizes=sizes,
    rules=rules,
    tied=tied,
    stored_head=stored_head,
    skipped=tuple(skipped),
  )


def rules_of(rules: Iterable[Rule], source: str) -> list[Rule]:
  """The rules of the tensors that a source has."""
  return [rule for rule in rules if rule.source == source]


def in_form(rules: Iterable[Rule], scanned: bool) -> list[Rule]:
  """The rules of a decoder whose layers are stacked, or each under a name of its own."""
  return [rule if scanned else rule.unscanned() for rule in rules]


def _comparable(one: int, other: int) -> bool:
  """Returns whether two numbers of tensors are near enough for their differences to be listed."""
  few, many = sorted((one, other))
  return many <= 2 * few + 100


def _equal(reader: HfReader, one: str, other: str) -> bool:
  """Returns whether two tensors of one shape hold the same bytes."""
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
  """Returns how many units of the first axis of a rule's tensors are moved at a time."""
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
  rules: Sequence[Rule], sizes: Sizes, readers: Readers, dtype: str
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
      info = readers[rule.source].tensors[place.hf]
      stored.setdefault(place.path, set()).add(info.numpy_dtype)
      all_bfloat16 = stored[place.path] == {DTYPES["bfloat16"]}
      exact = "bfloat16" if all_bfloat16 else "float32"
      target = DTYPES[exact if dtype == "stored" else dtype]
      specs[place.path] = ArraySpec(shape=shape, chunks=tuple(chunks), dtype=target)
  return specs
