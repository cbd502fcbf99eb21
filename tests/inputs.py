"""Input configurations of tests: copies with other keys."""

import dataclasses
from typing import Any

from maxtext_ext.input.config import InputConfig
from maxtext_ext.subconfig import SubConfig


def with_keys(config: InputConfig, **changes: Any) -> InputConfig:
  """A copy with other fields, or with other keys of the groups that it holds."""
  fields = {}
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if isinstance(value, SubConfig):
      if isinstance(changes.get(field.name), SubConfig):
        value = changes.pop(field.name)
      keys = {key: changes.pop(key) for key in dict(value).keys() & changes.keys()}
      fields[field.name] = type(value)(**{**dict(value), **keys})
  return dataclasses.replace(config, **{**fields, **changes})
