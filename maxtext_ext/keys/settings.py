"""Settings of a run: files, command line and environment, merged and checked.

Order, later ones win: declared defaults -> `configs/speech.yml` -> `configs/models/
{model_name}.yml` -> the experiment's yml -> `key=value` on the command line or `M_KEY` environment
variables, which must not give the same key. MaxText and JAX are not imported, so that mistakes are
reported at once.
"""

import difflib
import functools
import logging
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import annotated_types
import pydantic
from pydantic.fields import FieldInfo

from maxtext_ext.keys.machine import AUTO, cache_folder, detect_hardware, xla_flags
from maxtext_ext.keys.maxtext import maxtext_kinds
from maxtext_ext.keys.speech import SpeechKeys, groups
from maxtext_ext.keys.values import ConfigError, Kind, from_node, from_python, from_text
from maxtext_ext.keys.yml import (
  BASE_CONFIG,
  MODEL_FILE,
  SPEECH_KEY,
  Chain,
  Nodes,
  find_model,
  read_chain,
  read_yml,
)

Overrides = Sequence[str] | Mapping[str, Any]

COMMAND_LINE = "the command line"
PROGRAM = "the given keys"  # of values that a program passes
DEFAULT = "default"
MACHINE = "this machine"
_PREFIX = "M_"
_RULES, _REPLACE_RULES = "logical_axis_rules", "override_logical_axis_rules"
# How much alike a name and a key are that was probably meant: of an unknown variable, which may
# belong to another program, more than of a key.
_NEAR, _NEAR_OF_ENVIRONMENT = 0.6, 0.75

# Plainer words for what pydantic says, by the type of its errors.
_PLAIN = {
  "missing": "a value is missing",
  "extra_forbidden": "there is no such key",
  "too_long": "too many items",
  "float_parsing": "expected a number",
  "int_parsing": "expected a whole number",
  "tuple_type": "expected a list",
  "list_type": "expected a list",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Settings:
  """Values of all keys of a run; each is an attribute too.

  Attributes:
    path: of the configuration file.
    values: of the keys.
    origins: of the values: a file, the command line, a variable of the environment, or DEFAULT.
    files: paths of the configuration and its base files, base first.
  """

  path: str
  values: Mapping[str, Any]
  origins: Mapping[str, str]
  files: tuple[str, ...]

  def __getattr__(self, key: str) -> Any:
    try:
      return self.__dict__["values"][key]  # a copy in the making has none yet
    except KeyError:
      raise AttributeError(key) from None


@functools.cache
def kinds() -> dict[str, Kind]:
  """Returns the kind of values that each key takes: the project's keys, and MaxText's."""
  own = {name: _kind(field) for name, field in SpeechKeys.model_fields.items()}
  return maxtext_kinds() | own


def own_defaults() -> dict[str, Any]:
  """Returns the defaults of the project's own keys."""
  return {
    name: field.get_default(call_default_factory=True)
    for group in groups()
    for name, field in group.model_fields.items()
  }


def read(
  config: str | Chain, overrides: Overrides = (), *, on_another_machine: bool = False
) -> Settings:
  """Reads the keys of a yml file and of overrides: `key=value` strings, or values by key.

  Args:
    config: the file, or the files that `read_chain` has read.
    on_another_machine: they are for a run elsewhere, and so are the folders that they name.

  Raises:
    ConfigError: for an unknown key, a value of a wrong kind or out of range, a missing file.
  """
  chain = config if isinstance(config, Chain) else read_chain(config)
  path, sources = chain.path, [source for source, _ in chain.files]
  # Keys of an experiment: what the files above speech.yml (the first that is ours) set.
  first = next((i for i, (_, nodes) in enumerate(chain.files) if SPEECH_KEY in nodes), None)
  if first is None:
    for source, nodes in chain.files:
      _require_known(nodes, source)
    raise ConfigError(f"{path} sets no {SPEECH_KEY}: give `{BASE_CONFIG}: configs/speech.yml`")
  files = [_read_nodes(nodes, source) for source, nodes in chain.files]
  command, environment = read_overrides(overrides), _read_environment()
  for key in command.keys() & environment.keys():
    raise ConfigError(f"{key} is given on the command line and as {_variable(key)}: give it once")
  base = _merge(files[:first])
  asked = _merge([files[first], *files[first + 1 :], command, environment])
  model_file, model = _read_model(asked, path, elsewhere=on_another_machine)
  experiment = _merge(files[first + 1 :])
  layers = [
    *zip(sources[:first], files[:first], strict=True),
    (DEFAULT, own_defaults()),  # MaxText has keys of the same names
    (sources[first], files[first]),
    (model_file, model),
    *zip(sources[first + 1 :], files[first + 1 :], strict=True),
    (PROGRAM if isinstance(overrides, Mapping) else COMMAND_LINE, command),
    *((f"{_variable(key)} in the environment", {key: environment[key]}) for key in environment),
    (MACHINE, _fill(asked)),
  ]
  values = _merge(layer for _, layer in layers)
  origins = {key: source for source, layer in layers for key in layer}
  values[_RULES] = _axis_rules(_merge([base, files[first], experiment]), model, command)
  if not values["run_name"]:
    values["run_name"], origins["run_name"] = pathlib.PurePath(path).stem, path
  if not _means_epochs(files[first:], command, environment):
    values["epochs"], origins["epochs"] = 0.0, origins["steps"]
  checked = values | _check(values)
  origins = {key: origins.get(key, DEFAULT) for key in checked}
  return Settings(path=path, values=checked, origins=origins, files=tuple(sources))


def refuse_repeats(overrides: Iterable[str]) -> None:
  """Raises ConfigError when a key is given twice with different values."""
  texts: dict[str, str] = {}
  for item in overrides:
    key, _, text = item.partition("=")
    if texts.setdefault(key, text) != text:
      raise ConfigError(f"{COMMAND_LINE}: {key}={texts[key]} and {item}: give {key} once")


def _merge(layers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
  return {key: value for layer in layers for key, value in layer.items()}


def _kind(field: FieldInfo) -> Kind:
  """Derives the kind of a key from its declaration."""
  annotation, optional = field.annotation, False
  options = getattr(annotation, "__args__", ())
  if type(None) in options:
    optional = True
    (annotation,) = [option for option in options if option is not type(None)]
  limits: dict[str, Any] = {}
  for limit in field.metadata:
    match limit:
      case annotated_types.Ge():
        limits["at_least"] = limit.ge
      case annotated_types.Gt():
        limits["above"] = limit.gt
      case annotated_types.Le():
        limits["at_most"] = limit.le
      case annotated_types.Lt():
        limits["below"] = limit.lt
  names: dict[Any, Any] = {str: "text", int: "integer", float: "number", bool: "boolean"}
  names[int | float] = "number"
  if annotation in names:
    return Kind(kind=names[annotation], optional=optional, **limits)
  if annotation == list[str]:
    return Kind(kind="texts", optional=optional)
  if annotation == dict[str, Any]:
    return Kind(kind="yaml", optional=optional)
  if options and all(isinstance(option, str) for option in options):  # a Literal
    return Kind(kind="text", choices=options)
  return Kind(kind="nested")


def _require_known(names: Iterable[str], source: str) -> None:
  known = kinds()
  for name in names:
    if name not in known:
      near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=_NEAR)
      hint = f"; did you mean {near[0]}?" if near else ""
      raise ConfigError(f"{source}: unknown key {name}{hint}")
    if known[name].kind == "derived":
      raise ConfigError(f"{source}: {name} follows from other keys and cannot be given")


def _read_all[T](
  explicit: Mapping[str, T], source: str, convert: Callable[[str, T, Kind], Any]
) -> dict[str, Any]:
  _require_known(explicit, source)
  try:
    return {key: convert(key, value, kinds()[key]) for key, value in explicit.items()}
  except ConfigError as error:
    raise ConfigError(f"{source}: {error}") from error


def _read_nodes(nodes: Nodes, source: str) -> dict[str, Any]:
  return _read_all(nodes, source, from_node)


def read_overrides(overrides: Overrides) -> dict[str, Any]:
  """Reads the values of overrides by key.

  Raises:
    ConfigError: for an unknown key, or a value of a wrong kind.
  """
  if isinstance(overrides, Mapping):
    return _read_all(overrides, PROGRAM, from_python)
  texts = {}
  for item in overrides:
    key, equals, text = item.partition("=")
    if not equals or not key.isidentifier():
      raise ConfigError(f"got {item!r}, expected key=value, such as steps=100")
    texts[key] = text
  return _read_all(texts, COMMAND_LINE, from_text)


def _variable(key: str) -> str:
  return _PREFIX + key.upper()


def _read_environment() -> dict[str, Any]:
  """Reads the keys of `M_KEY` variables; rejects a variable that looks like a misspelled key."""
  keys: dict[str, Any] = {}
  for name, text in os.environ.items():
    if not name.startswith(_PREFIX):
      continue
    key = name.removeprefix(_PREFIX).lower()
    if name.isupper() and key in kinds():
      keys |= _read_all({key: text}, f"{name} in the environment", from_text)
    else:
      near = difflib.get_close_matches(key, kinds(), n=1, cutoff=_NEAR_OF_ENVIRONMENT)
      if near:
        raise ConfigError(
          f"{name} in the environment: no such key; did you mean {_variable(near[0])}?"
          f" If it is for another program, unset {name} here"
        )
      _warn_of(name)
  return keys


@functools.cache
def _warn_of(name: str) -> None:
  _log.warning("%s in the environment is no key of the configuration: ignored", name)


def _read_model(
  asked: Mapping[str, Any], path: str, *, elsewhere: bool
) -> tuple[str, dict[str, Any]]:
  """Reads the model's file and its keys; none where it may be a folder of another machine."""
  name = asked.get("model_name", "default")
  if name == "default" or (elsewhere and os.sep in name and not os.path.exists(name)):
    return "", {}
  file = find_model(name, path)
  model = _read_nodes(read_yml(file), file)
  if os.path.basename(file) == MODEL_FILE and not asked.get("tokenizer_path"):
    model["tokenizer_path"] = os.path.dirname(file)
  return file, model


def _fill(asked: Mapping[str, Any]) -> dict[str, Any]:
  """Fills in the machine's hardware and its paths where they are not set."""
  values: dict[str, Any] = {}
  hardware = asked.get("hardware", AUTO)
  if hardware == AUTO:
    hardware = values["hardware"] = detect_hardware()
  if asked.get("jax_cache_dir", AUTO) == AUTO:
    values["jax_cache_dir"] = cache_folder()
  if not (asked.get("dump_hlo") or asked.get("dump_hlo_xla_flags") or os.environ.get("XLA_FLAGS")):
    # MaxText sets XLA_FLAGS to the value of this key.
    values["dump_hlo_xla_flags"] = xla_flags(hardware)
  if "megablox" not in asked:
    # MaxText's own kernel for mixtures of experts; off a TPU it would be interpreted, slowly.
    values["megablox"] = hardware == "tpu"
  return values


def _axis_rules(
  files: Mapping[str, Any], model: Mapping[str, Any], command: Mapping[str, Any]
) -> list[Any]:
  """Merges MaxText's sharding rules: those of the model and the command line take precedence."""
  rules = list(files.get(_RULES, []))
  for layer in (model, command):
    new = layer.get(_RULES, [])
    if not isinstance(new, list) or not all(isinstance(r, list) and len(r) == 2 for r in new):
      raise ConfigError(f"{_RULES}: got {new!r}, expected pairs, such as [[embed, [fsdp]]]")
    names = {rule[0] for rule in new}
    replaced = bool(new and layer.get(_REPLACE_RULES))
    rules = [*([] if replaced else (rule for rule in rules if rule[0] not in names)), *new]
  return rules


def _means_epochs(
  files: Sequence[Mapping[str, Any]], command: Mapping[str, Any], environment: Mapping[str, Any]
) -> bool:
  """Returns whether `epochs` takes precedence: set closer to the run than `steps`, or beside it."""
  names = ("steps", "epochs")
  last: Mapping[str, Any] = next(
    (layer for layer in reversed([*files, command]) if any(name in layer for name in names)), {}
  )
  if "epochs" in environment:
    return True
  return "epochs" in last and "steps" not in environment


def _check(values: Mapping[str, Any]) -> dict[str, Any]:
  """Converts the project's keys; raises ConfigError unless they fit together."""
  own = {key: value for key, value in values.items() if key in SpeechKeys.model_fields}
  try:
    return SpeechKeys.model_validate(own).model_dump()
  except pydantic.ValidationError as error:
    key = "".join(str(part) for part in error.errors()[0]["loc"][:1])
    about = f"; {key}: {SpeechKeys.model_fields[key].description}" if key else ""
    raise ConfigError(f"{describe(error)}{about}".rstrip(".")) from error


def describe(error: pydantic.ValidationError) -> str:
  """Describes the first of pydantic's errors on one line."""
  first = error.errors()[0]
  key = ".".join(str(part) for part in first["loc"])
  message = _PLAIN.get(first["type"]) or first["msg"].removeprefix("Value error, ")
  said = f"{key}: {message} (got {first['input']!r})" if key else message
  more = f"; and {error.error_count() - 1} more" if error.error_count() > 1 else ""
  return f"{said}{more}"
