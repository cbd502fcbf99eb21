"""Values of configuration keys: conversion of texts by the kind of the key.

Text keys are taken literally. YAML is parsed only for keys with lists or maps.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml

_WORDS = {
  **dict.fromkeys(("true", "yes", "on", "1"), True),
  **dict.fromkeys(("false", "no", "off", "0"), False),
}
_NAMES = {
  "text": "a text",
  "integer": "a whole number",
  "number": "a number",
  "boolean": "true or false",
  "texts": "a list of texts, such as [a, b]",
}
_NONE = ("", "none", "null", "~")
_MAX_DEPTH = 100  # of lists and maps inside each other
_NULL_TAG = "tag:yaml.org,2002:null"
_Scalars: type[yaml.BaseLoader] = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class ConfigError(ValueError):
  """Invalid configuration; one line that says what, got, expected and remedy."""


@dataclass(frozen=True, kw_only=True)
class Kind:
  """The values that a key takes.

  Attributes:
    kind: text; a number of some sort; texts: a list of texts; nested: lists and maps whose items
      are texts, to be converted by pydantic; yaml: anything, as YAML types it; derived: follows
      from other keys, and is never given.
    optional: whether it may be None.
    choices: the values that there are; empty: any.
    at_least, above, at_most, below: limits of a number.
  """

  kind: Literal["text", "integer", "number", "boolean", "texts", "nested", "yaml", "derived"]
  optional: bool = False
  choices: Sequence[Any] = ()
  at_least: int | float | None = None
  above: int | float | None = None
  at_most: int | float | None = None
  below: int | float | None = None

  def __str__(self) -> str:
    name = _NAMES.get(self.kind, "a list or a map, as YAML writes it")
    if self.choices:
      name = f"one of {', '.join(repr(choice) for choice in self.choices)}"
    if self.at_least is not None and self.at_most is not None:
      name += f" from {self.at_least} to {self.at_most}"
    elif self.at_least is not None:
      name += f" of at least {self.at_least}"
    elif self.at_most is not None:
      name += f" of at most {self.at_most}"
    limits = [f"above {self.above}"] if self.above is not None else []
    limits += [f"below {self.below}"] if self.below is not None else []
    return f"{name} {' and '.join(limits)}".rstrip() + (", or none" if self.optional else "")


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where PyYAML has it


class _Typed(_Loader):
  """YAML with numbers such as 1e-3, which YAML 1.1 takes for texts."""


_Typed.add_implicit_resolver(
  "tag:yaml.org,2002:float",
  re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
  list("-+0123456789"),
)


def from_text(key: str, text: str, kind: Kind) -> Any:
  """Converts a text of the command line or the environment.

  Raises:
    ConfigError: it is none of that kind.
  """
  value = _convert(key, text, kind)
  _require(key, value, kind, text)
  return value


def from_node(key: str, node: yaml.Node, kind: Kind) -> Any:
  """Converts a node of a yml file; a text key takes the text of any scalar, 007 included.

  Raises:
    ConfigError: it is none of that kind.
  """
  if isinstance(node, yaml.ScalarNode):
    if node.tag == _NULL_TAG:
      return from_python(key, None, kind)
    return from_text(key, node.value, kind)
  return from_python(key, _construct(key, node, kind), kind)


def from_python(key: str, value: Any, kind: Kind) -> Any:
  """Checks a value that a program passes; None means no value, for a text key the empty text.

  Raises:
    ConfigError: it is none of that kind.
  """
  if value is None:
    if kind.kind == "text" and not kind.optional:
      return ""
    if not kind.optional:
      raise ConfigError(f"{key}: got nothing, expected {kind}")
    return None
  if isinstance(value, str):
    return from_text(key, value, kind)
  accepted = {
    "text": (),
    "integer": (int, float),
    "number": (int, float),
    "boolean": (bool,),
    "texts": (list, tuple),
    "nested": (list, tuple, Mapping),
    "yaml": (object,),
  }[kind.kind]
  if kind.kind == "text" and type(value) in (int, float):
    value = str(value)
  elif not isinstance(value, accepted) or (isinstance(value, bool) and bool not in accepted):
    raise ConfigError(f"{key}: got {value!r}, expected {kind}")
  if kind.kind == "integer" and isinstance(value, float) and value.is_integer():
    value = int(value)
  _require(key, value, kind, value)
  return value


def parse_yaml(text: str) -> yaml.Node | None:
  """Parses a YAML text to a tree, with texts as its leaves.

  Raises:
    ConfigError: it is not YAML.
  """
  try:
    _check_depth(text)
    return yaml.compose(text, _Typed)
  except yaml.YAMLError as error:
    raise ConfigError(f"not yaml: {_problem(error)}") from error


def _check_depth(text: str) -> None:
  """Rejects nesting that would overflow the stack of the C parser, which is recursive."""
  depth = 0
  for event in yaml.parse(text, _Typed):
    if isinstance(event, yaml.CollectionStartEvent):
      depth += 1
    elif isinstance(event, yaml.CollectionEndEvent):
      depth -= 1
    if depth > _MAX_DEPTH:
      raise ConfigError(f"not yaml that can be read: over {_MAX_DEPTH} values inside each other")


def _convert(key: str, text: str, kind: Kind) -> Any:
  if kind.optional and kind.kind != "text" and text.strip().lower() in _NONE:
    return None
  match kind.kind:
    case "text":
      return text
    case "integer":
      number = _number(text)
      return int(number) if isinstance(number, float) and number.is_integer() else number
    case "number":
      return _number(text)
    case "boolean":
      return _WORDS.get(text.strip().lower(), text)
  try:
    node = parse_yaml(text)
  except ConfigError as error:
    raise ConfigError(f"{key}: {error}") from error
  if node is None:
    return text
  value = _construct(key, node, kind)
  return [value] if kind.kind == "texts" and isinstance(value, str) else value


def _number(text: str) -> int | float | str:
  """Converts a text to a number; returns the text where it is none."""
  for read in (int, float):
    try:
      return read(text)
    except ValueError:
      continue
  return text


def _problem(error: yaml.YAMLError) -> str:
  """Describes the fault in a YAML text, and its place, on one line."""
  mark = getattr(error, "problem_mark", None)
  if mark is None:
    return " ".join(str(error).split())
  return f"{error.problem} (line {mark.line + 1}, column {mark.column + 1})"


def _construct(key: str, node: yaml.Node, kind: Kind) -> Any:
  constructor = (_Typed if kind.kind == "yaml" else _Scalars)("")
  try:
    return constructor.construct_document(node)
  except yaml.YAMLError as error:
    raise ConfigError(f"{key}: not yaml: {_problem(error)}") from error
  finally:
    constructor.dispose()


def _require(key: str, value: Any, kind: Kind, got: Any) -> None:
  if value is None:
    return
  expected: dict[str, Any] = {
    "text": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "texts": (list, tuple),
  }
  types = expected.get(kind.kind, object)
  fits = isinstance(value, types) and not (isinstance(value, float) and not math.isfinite(value))
  if fits and kind.choices:
    fits = value in kind.choices or (kind.optional and str(value).lower() in _NONE)
  if fits and kind.kind in ("integer", "number"):
    fits = (
      (kind.at_least is None or value >= kind.at_least)
      and (kind.above is None or value > kind.above)
      and (kind.at_most is None or value <= kind.at_most)
      and (kind.below is None or value < kind.below)
    )
  if not fits:
    raise ConfigError(f"{key}: got {got!r}, expected {kind}")
