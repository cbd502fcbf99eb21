"""List of MaxText's configuration keys: writes maxtext_ext/keys/maxtext_keys.json.

Run it when the pinned version of MaxText changes: python -m setup.maxtext_keys
"""

import json
from collections.abc import Collection
from typing import Any

import pydantic

from maxtext_ext.keys.maxtext import FILE

_BOUNDS = {
  "minimum": "at_least",
  "exclusiveMinimum": "above",
  "maximum": "at_most",
  "exclusiveMaximum": "below",
}
_SCALARS = {"string": "text", "integer": "integer", "number": "number", "boolean": "boolean"}


def describe(
  config_class: type[pydantic.BaseModel], derived: Collection[str]
) -> dict[str, dict[str, Any]]:
  """The type and range of every field of a configuration class, by its JSON schema.

  Args:
    derived: fields that follow from others.
  """
  schema = config_class.model_json_schema()
  properties, definitions = schema["properties"], schema.get("$defs", {})
  return {
    name: {"kind": "derived"} if name in derived else _describe(properties[name], definitions)
    for name in sorted(config_class.model_fields)
  }


def _describe(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
  options = [_resolve(option, definitions) for option in field.get("anyOf", [field])]
  optional = [option for option in options if option.get("type") == "null"]
  options = [option for option in options if option not in optional]
  types = {option.get("type") for option in options}
  if types == {"integer", "number"}:
    options = [{"type": "number"}]
  if len(options) == 1 and options[0].get("type") in _SCALARS:
    found = {"kind": _SCALARS[options[0]["type"]]}
    found |= {word: options[0][bound] for bound, word in _BOUNDS.items() if bound in options[0]}
    choices = options[0].get("enum", [options[0]["const"]] if "const" in options[0] else None)
    found |= {"choices": choices} if choices else {}
  elif len(options) == 1 and options[0].get("items") == {"type": "string"}:
    found = {"kind": "texts"}
  else:
    found = {"kind": "yaml"}
  return found | ({"optional": True} if optional else {})


def _resolve(option: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
  return definitions[option["$ref"].rpartition("/")[2]] if "$ref" in option else option


def main() -> None:
  """Writes the file, one key a line."""
  from maxtext_ext import bridge

  lines = [
    f"{json.dumps(name)}: {json.dumps(found)}"
    for name, found in describe(bridge.MaxTextConfig, bridge.derived_keys()).items()
  ]
  FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
  print(f"{FILE}: {len(lines)} keys")


if __name__ == "__main__":
  main()
