"""Shell completion of `key=value` arguments."""

from collections.abc import Sequence

import yaml

from maxtext_ext.keys.settings import kinds, own_defaults
from maxtext_ext.keys.speech import SpeechKeys
from maxtext_ext.keys.yml import experiments, package_configs, read_yml


def complete_config(incomplete: str) -> list[str]:
  """Lists the package's configurations with this beginning; the shell adds files itself."""
  return [path for path in experiments() if path.startswith(incomplete)]


def complete_override(before: Sequence[str], incomplete: str) -> list[str]:
  """Lists completions of the beginning of a `key=value`.

  Args:
    before: the words before it. Bash takes `=` for the end of a word, and a word of its own.
    incomplete: the beginning; of the value alone where `before` ends with the key.
  """
  key, equals, value = incomplete.partition("=")
  if equals:
    return [f"{key}={choice}" for choice in _choices(key, value)]
  *_, last_but_one, last = ["", "", *before]
  if last in kinds() or last == "=":
    return _choices(last_but_one if last == "=" else last, incomplete)
  return _keys(incomplete)


def _keys(incomplete: str) -> list[str]:
  """Lists own and narrowed keys with this beginning; MaxText's 800 where none of those fits."""
  own = [key for key in SpeechKeys.model_fields if key.startswith(incomplete)]
  fitting = own or [key for key in kinds() if key.startswith(incomplete)]
  names = sorted(key for key in fitting if kinds()[key].kind != "derived")
  offered = [f"{key}=" for key in names]
  if len(names) == 1:
    # Of two, bash takes what they have in common, and sets no space behind it.
    (key,) = names
    offered += [f"{key}={choice}" for choice in _choices(key, "") or _default(key)]
  return offered


def _default(key: str) -> list[str]:
  """Returns the default of a key, where it is a single word."""
  default = own_defaults().get(key)
  if key in own_defaults():
    return [str(default)] if default != "" and not isinstance(default, list | dict | tuple) else []
  node = read_yml(str(package_configs() / "speech.yml")).get(key)
  return [node.value] if isinstance(node, yaml.ScalarNode) and node.value else []


def _choices(key: str, incomplete: str) -> list[str]:
  kind = kinds().get(key)
  if kind is None:
    return []
  choices = ("true", "false") if kind.kind == "boolean" else kind.choices
  return [str(choice) for choice in choices if str(choice).startswith(incomplete)]
