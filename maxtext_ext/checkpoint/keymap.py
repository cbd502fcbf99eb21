"""Key tables between Hugging Face checkpoints and ours: rules, read in both directions.

A rule says which tensors are the same numbers under two names and in two axis orders. The way
back is derived from it; nothing is written twice.
"""

import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from maxtext_ext.escape import printable

Sizes = Mapping[str, int]
SOLE = ""  # source of the families whose models are one checkpoint
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, kw_only=True)
class Rule:
  """Tensors of a Hugging Face checkpoint, and where they lie in ours.

  Attributes:
    hf: name with indices in braces: `model.layers.{layer}.self_attn.q_proj.weight`.
    ours: path with "/": `decoder/layers/self_attention/query/kernel`. An index in braces stands
      for a tensor of its own; an index that is an axis of ours counts slices of a stacked tensor.
    layout: axes of the Hugging Face tensor, then ours: `(head size) in -> in layer head size`.
      Axes in parentheses are one axis there. Axes that only ours has are indices of the name.
    at: axes of the Hugging Face tensor of which ours is one slice: `{"part": 1}`.
    source: the checkpoint that has the tensor, a key of `Family.sources`.
    over_root: an axis by the square root of whose size our numbers are divided: 64 makes them an
      eighth. The root must be a power of two, so that every number comes back as it was.
  """

  hf: str
  ours: str
  layout: str
  at: Mapping[str, int] = dataclasses.field(default_factory=dict)
  source: str = SOLE
  over_root: str = ""

  def __post_init__(self) -> None:
    here, there = set(self.indices), set(self.hf_axes)
    ours, placed = set(self.our_axes), set(_PLACEHOLDER.findall(self.ours))
    assert len(there) == len(self.hf_axes) and len(ours) == len(self.our_axes), f"{self}: repeated"
    assert there - set(self.at) <= ours <= (there - set(self.at)) | here, f"{self}: axes differ"
    assert placed | (ours - there) == here, f"{self}: an index has no place"

  @functools.cached_property
  def indices(self) -> tuple[str, ...]:
    """Names of the indices in the Hugging Face name."""
    return tuple(_PLACEHOLDER.findall(self.hf))

  @functools.cached_property
  def hf_groups(self) -> tuple[tuple[str, ...], ...]:
    """Axes of the Hugging Face tensor; several names are one axis, outer first."""
    parts = re.findall(r"\(([^)]*)\)|(\w+)", self.layout.split("->")[0])
    return tuple(tuple(group.split()) if group else (single,) for group, single in parts)

  @functools.cached_property
  def hf_axes(self) -> tuple[str, ...]:
    """Axes of the Hugging Face tensor with its groups opened."""
    return tuple(axis for group in self.hf_groups for axis in group)

  @functools.cached_property
  def our_axes(self) -> tuple[str, ...]:
    """Axes of our tensor, stacked ones included."""
    return tuple(self.layout.split("->")[1].split())

  @functools.cached_property
  def _pattern(self) -> re.Pattern[str]:
    parts = _PLACEHOLDER.split(self.hf)  # text, index, text, index, ..., text
    pieces = [rf"(?P<{p}>\d+)" if i % 2 else re.escape(p) for i, p in enumerate(parts)]
    return re.compile("".join(pieces))

  def match(self, name: str) -> dict[str, int] | None:
    """Indices of a Hugging Face name, or None where it is not one of this rule's."""
    match = self._pattern.fullmatch(name)
    return None if match is None else {k: int(v) for k, v in match.groupdict().items()}

  def hf_shape(self, sizes: Sizes) -> tuple[int, ...]:
    """Shape of the Hugging Face tensor."""
    return tuple(math.prod(sizes[axis] for axis in group) for group in self.hf_groups)

  def our_shape(self, sizes: Sizes) -> tuple[int, ...]:
    """Shape of our tensor, stacked axes included."""
    return tuple(sizes[axis] for axis in self.our_axes)

  def places(self, sizes: Sizes) -> Iterator["Place"]:
    """Lists the tensors of the rule: one for each combination of the indices."""
    for values in itertools.product(*(range(sizes[index]) for index in self.indices)):
      yield Place(rule=self, indices=dict(zip(self.indices, values, strict=True)))

  def view(self, hf: np.ndarray, sizes: Sizes) -> np.ndarray:
    """The numbers of a Hugging Face tensor that are ours, in our axis order.

    A view: read from it on the way in, write to it on the way out.

    Args:
      hf: the tensor, or whole units of its first axis; contiguous.

    Returns:
      the axes of ours except those that are indices of the name.
    """
    dims = [sizes[axis] for axis in self.hf_axes]
    dims[0] = hf.size // math.prod(dims[1:])
    part = tuple(self.at.get(axis, slice(None)) for axis in self.hf_axes)
    view = hf.reshape(dims, copy=False)[part]
    kept = [axis for axis in self.hf_axes if axis not in self.at]
    return view.transpose([kept.index(axis) for axis in self.our_axes if axis in kept])

  def factor(self, sizes: Sizes) -> float:
    """Our numbers are those of the Hugging Face tensor times this."""
    if not self.over_root:
      return 1.0
    factor = 1 / math.sqrt(sizes[self.over_root])
    assert math.frexp(factor)[0] == 0.5, f"{self}: {factor} is no power of two"
    return factor

  def unit(self, sizes: Sizes) -> int:
    """Rows of the Hugging Face tensor that stay together; all if `at` fixes its first axis."""
    first = self.hf_groups[0]
    return math.prod(sizes[axis] for axis in (first if first[0] in self.at else first[1:]))

  def unscanned(self, index: str = "layer", stack: str = "layers") -> Self:
    """The rule of a decoder that keeps every layer under a name of its own: `layers_0`, ...

    Returns:
      the rule itself where our tensor is not stacked along `index`.
    """
    if index not in self.our_axes or f"/{stack}/" not in self.ours:
      return self
    hf, ours = self.layout.split("->")
    left = " ".join(axis for axis in ours.split() if axis != index)
    path = self.ours.replace(f"/{stack}/", f"/{stack}_{{{index}}}/", 1)
    return dataclasses.replace(self, ours=path, layout=f"{hf.strip()} -> {left}")


@dataclass(frozen=True, kw_only=True)
class Place:
  """One tensor of a rule: its indices are given."""

  rule: Rule
  indices: Mapping[str, int]

  @property
  def hf(self) -> str:
    """Name in the Hugging Face checkpoint."""
    return self.rule.hf.format(**self.indices)

  @property
  def path(self) -> str:
    """Path in ours."""
    return self.rule.ours.format(**self.indices)

  def slot(self, units: slice = slice(None)) -> tuple[int | slice, ...]:
    """Index into our tensor of `view`, or of the view of some units of the first axis."""
    first, axes = self.rule.hf_groups[0][0], self.rule.hf_axes
    return tuple(
      units if axis == first else slice(None) if axis in axes else self.indices[axis]
      for axis in self.rule.our_axes
    )


@dataclass(frozen=True, kw_only=True)
class Source:
  """One of the checkpoints that a model is made of.

  Attributes:
    model_types: `model_type` values of its config.json.
    skip: regular expressions of tensors that we have no use for; they are listed in the report.
    tokenizer: the model's tokenizer comes from here.
    kinds: config.json of a new part by its kind, the default first. Where a kind is given instead
      of a checkpoint, or nothing, its weights are initialised as in a new model.
  """

  model_types: tuple[str, ...]
  skip: tuple[str, ...] = ()
  tokenizer: bool = False
  kinds: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

  def skipped(self, name: str) -> bool:
    """Returns whether a tensor of this name is left out on purpose."""
    return any(re.fullmatch(pattern, name) for pattern in self.skip)


@dataclass(frozen=True, kw_only=True)
class Family:
  """Rules to read and write the checkpoints of one kind of model.

  Attributes:
    name: key of `families.FAMILIES`.
    model_types, skip: as of `Source`, of a family whose models are one checkpoint.
    parts: the checkpoints that its models are made of, by name, where they are several.
    namings: names of its ways to call the tensors, the publisher's first.
    model_keys: (config.json, its path for messages) -> keys of SpeechConfig, as model.yml holds
      them; with `parts`, (config.json by source, their paths by source). Raises ValueError for a
      model that we cannot run.
    sizes: keys of SpeechConfig -> sizes of the axes and counts of the indices of the rules.
    rules: (naming, tied, keys of SpeechConfig) -> the rules, in their scanned form; tied: without
      an output head.
    hf_config: (config.json, naming, tied) -> config.json for that naming; with `parts`, of
      (config.json by source, naming, tied), by source.
    tied_head: naming -> the rule of a head that a tied checkpoint stores as a copy of the
      embedding; None where no checkpoint does.
    processor_files: (the processor's JSON files by name, naming) -> those for another naming; None
      where they are alike.
    module_naming: the naming that transformers' modules have, which PEFT adapts.
    moved_modules: prefixes of that naming -> prefixes of the modules, where they differ.
  """

  name: str
  model_types: tuple[str, ...] = ()
  namings: tuple[str, ...]
  skip: tuple[str, ...] = ()
  parts: Mapping[str, Source] = dataclasses.field(default_factory=dict)
  model_keys: Callable[[Mapping[str, Any], Any], dict[str, Any]]
  sizes: Callable[[Mapping[str, Any]], dict[str, int]]
  rules: Callable[[str, bool, Mapping[str, Any]], list[Rule]]
  hf_config: Callable[[Mapping[str, Any], str, bool], Mapping[str, Any]]
  tied_head: Callable[[str], Rule] | None = None
  processor_files: Callable[[Mapping[str, Any], str], dict[str, Any]] | None = None
  module_naming: str = "native"
  moved_modules: Mapping[str, str] = dataclasses.field(default_factory=dict)

  @property
  def sources(self) -> Mapping[str, Source]:
    """The checkpoints that its models are made of; of one alone, under the name SOLE."""
    sole = Source(model_types=self.model_types, skip=self.skip, tokenizer=True)
    return self.parts or {SOLE: sole}

  def naming_of(self, names: Iterable[str], model: Mapping[str, Any]) -> str:
    """The naming that explains most of `names`, of a model of these keys."""
    names = list(names)

    def explained(naming: str) -> int:
      rules = self.rules(naming, False, model)
      return sum(any(rule.match(name) for rule in rules) for name in names)

    return max(self.namings, key=explained)


class KeyTableError(ValueError):
  """Tensors that the key table does not expect, lacks, or finds in another shape.

  Attributes:
    summary: how many, in one line.
    problems: a line for each of them.
  """

  def __init__(self, source: str, problems: Sequence[str]) -> None:
    self.summary = f"{source}: {len(problems)} tensors are not those of the model"
    self.problems = tuple(problems)
    super().__init__("\n".join([self.summary, *problems]))


def places_by_name(rules: Iterable[Rule], sizes: Sizes) -> dict[str, list[Place]]:
  """Hugging Face names of a whole model in sorted order, each with what it holds of ours."""
  places: dict[str, list[Place]] = {}
  for rule in rules:
    for place in rule.places(sizes):
      places.setdefault(place.hf, []).append(place)
  return {name: places[name] for name in sorted(places)}


def count_places(rules: Iterable[Rule], sizes: Sizes) -> int:
  """Counts the tensors that the rules make of a model, without naming them."""
  return sum(math.prod(sizes[index] for index in rule.indices) for rule in rules)


def our_shapes(rules: Iterable[Rule], sizes: Sizes) -> dict[str, tuple[int, ...]]:
  """Our tensors of a whole model by path, with their shapes."""
  return {place.path: rule.our_shape(sizes) for rule in rules for place in rule.places(sizes)}


def check_names(
  expected: Mapping[str, Sequence[int]], found: Mapping[str, Sequence[int]], source: str
) -> None:
  """Compares names and shapes.

  Raises:
    KeyTableError: they differ; lists every unknown, missing and misshapen name.
  """
  unknown = sorted(found.keys() - expected)
  problems = [f"unknown: {printable(name)} {_shape(found[name])}" for name in unknown]
  problems += [
    f"missing: {name} {_shape(expected[name])}" for name in sorted(expected.keys() - found)
  ]
  problems += [
    f"shape of {name}: got {_shape(found[name])}, expected {_shape(expected[name])}"
    for name in sorted(expected.keys() & found)
    if tuple(found[name]) != tuple(expected[name])
  ]
  if problems:
    raise KeyTableError(source, problems)


def _shape(shape: Sequence[int]) -> str:
  return "[" + ", ".join(map(str, shape)) + "]"
