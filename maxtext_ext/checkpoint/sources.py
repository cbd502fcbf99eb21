"""Sources of a conversion: the checkpoints of Hugging Face that a model is made of."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maxtext_ext.checkpoint import staging
from maxtext_ext.checkpoint.families import FAMILIES, describe_sources, family_of
from maxtext_ext.checkpoint.keymap import SOLE, Family
from maxtext_ext.checkpoint.staging import CONFIG
from maxtext_ext.files.foreign_json import shown


@dataclass(frozen=True, kw_only=True)
class Sources:
  """The checkpoints of one conversion, by the names that the family has for them.

  Attributes:
    family: of the model that they make.
    given: folders or ids, as they were given.
    folders: where they lie.
    configs: their config.json.
  """

  family: Family
  given: Mapping[str, str]
  folders: Mapping[str, str]
  configs: Mapping[str, Mapping[str, Any]]

  def __str__(self) -> str:
    return ", ".join(f"{name}={given}" if name else given for name, given in self.given.items())

  def model_keys(self) -> dict[str, Any]:
    """The keys of model.yml.

    Raises:
      ValueError: a model that we cannot run.
    """
    files = {name: os.path.join(folder, CONFIG) for name, folder in self.folders.items()}
    if self.family.parts:
      return self.family.model_keys(self.configs, files)
    return self.family.model_keys(self.configs[SOLE], files[SOLE])


def open_sources(given: Mapping[str, str]) -> Sources:
  """Finds the folders, reads each config.json, and tells the family.

  Raises:
    ValueError: no model is made of such checkpoints, or one is not there.
  """
  candidates = [family for family in FAMILIES.values() if family.sources.keys() == given.keys()]
  if not candidates:
    listed = ", ".join(f"{name}={value}" for name, value in given.items())
    raise ValueError(f"{listed}: no model is made of exactly these; {describe_sources()}")
  folders = {name: staging.find_source(source) for name, source in given.items()}
  configs = {name: staging.read_json(folder, CONFIG) for name, folder in folders.items()}
  if SOLE in given:
    family = family_of(configs[SOLE], os.path.join(folders[SOLE], CONFIG))
  else:
    family = _family_of_parts(candidates, folders, configs)
  return Sources(family=family, given=given, folders=folders, configs=configs)


def _family_of_parts(
  candidates: Sequence[Family], folders: Mapping[str, str], configs: Mapping[str, Mapping[str, Any]]
) -> Family:
  for name, config in configs.items():
    kind = config.get("model_type")
    fitting = [family for family in candidates if kind in family.parts[name].model_types]
    if not fitting:
      known = [kind for family in candidates for kind in family.parts[name].model_types]
      raise ValueError(
        f"{name}={folders[name]}: its {CONFIG} has model_type {shown(kind)}, expected"
        f" {' or '.join(dict.fromkeys(known))}"
      )
    candidates = fitting
  return candidates[0]
