"""Sources of a conversion: the checkpoints of Hugging Face that a model is made of."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from etils import epath

from maxtext_ext.checkpoint import staging
from maxtext_ext.checkpoint.families import FAMILIES, describe_sources, family_of
from maxtext_ext.checkpoint.keymap import SOLE, Family
from maxtext_ext.checkpoint.packaged import PREFIX
from maxtext_ext.checkpoint.packaged.folders import unpack
from maxtext_ext.checkpoint.peft_config import ADAPTER_FOLDER
from maxtext_ext.checkpoint.staging import CONFIG
from maxtext_ext.files import foreign_folder
from maxtext_ext.files.foreign_json import shown


@dataclass(frozen=True, kw_only=True)
class Sources:
  """The checkpoints of one conversion, by the names that the family has for them.

  Attributes:
    family: of the model that they make.
    given: folders, ids, or kinds of new parts, as they were given.
    folders: where they lie, but for new parts.
    configs: their config.json.
    aside: what lies there too and is not read, for the report.
  """

  family: Family
  given: Mapping[str, str]
  folders: Mapping[str, str]
  configs: Mapping[str, Mapping[str, Any]]
  aside: tuple[str, ...] = ()

  def __str__(self) -> str:
    return ", ".join(f"{name}={given}" if name else given for name, given in self.given.items())

  def model_keys(self) -> dict[str, Any]:
    """The keys of model.yml.

    Raises:
      ValueError: a model that we cannot run.
    """
    files = {name: os.path.join(folder, CONFIG) for name, folder in self.folders.items()}
    if self.family.parts:
      new = {name: f"{name}={self.given[name]}" for name in self.new}
      return self.family.model_keys(self.configs, files | new)
    return self.family.model_keys(self.configs[SOLE], files[SOLE])

  @property
  def new(self) -> list[str]:
    """The parts that no checkpoint has."""
    return [name for name in self.configs if name not in self.folders]


def find_folder(source: str) -> str:
  """The folder of a source: as given, of an installed package, or downloaded from the hub.

  Raises:
    ValueError: there is no such folder, package or id.
  """
  if source.startswith(PREFIX):
    return unpack(source)
  return staging.find_source(source)


def open_sources(given: Mapping[str, str]) -> Sources:
  """Finds the folders, reads each config.json, and tells the family.

  Args:
    given: folders or ids by name; a single one may hold the folders of all parts, as conversion
      back to Hugging Face's layout writes them.

  Raises:
    ValueError: no model is made of such checkpoints, or one is not there.
  """
  aside: tuple[str, ...] = ()
  if SOLE in given:
    folder = find_folder(given[SOLE])
    if not (parts := _parts_in(folder)):
      config = staging.read_json(folder, CONFIG)
      family = family_of(config, os.path.join(folder, CONFIG))
      return Sources(family=family, given=given, folders={SOLE: folder}, configs={SOLE: config})
    if (epath.Path(folder) / ADAPTER_FOLDER).exists():
      aside = (f"{ADAPTER_FOLDER}/, which `maxtext-ext convert import-adapter` takes",)
    given = parts
  candidates = [family for family in FAMILIES.values() if _takes(family, given)]
  if not candidates:
    listed = ", ".join(f"{name}={value}" for name, value in given.items())
    raise ValueError(f"{listed}: no model is made of exactly these; {describe_sources()}")
  kinds = {
    (name, kind): dict(config)
    for family in candidates
    for name, part in family.parts.items()
    for kind, config in part.kinds.items()
  }
  folders = {
    name: find_folder(source) for name, source in given.items() if (name, source) not in kinds
  }
  configs = {name: staging.read_json(folder, CONFIG) for name, folder in folders.items()}
  family = _family_of_parts(candidates, folders, configs)
  new = {
    name: given.get(name, next(iter(part.kinds), ""))
    for name, part in family.parts.items()
    if name not in folders
  }
  configs |= {name: kinds[name, kind] for name, kind in new.items()}
  given = {**given, **new}
  return Sources(family=family, given=given, folders=folders, configs=configs, aside=aside)


def _parts_in(folder: str) -> dict[str, str]:
  """The folders of a model's parts in one, by name; none where they are not those of a family."""
  if foreign_folder.find(folder, CONFIG) is not None:
    return {}
  for family in FAMILIES.values():
    parts = {name: os.path.join(folder, name) for name in family.parts}
    # A link could lead anywhere, and no tool makes one here.
    if parts and all(
      (epath.Path(part) / CONFIG).exists() and not os.path.islink(part) for part in parts.values()
    ):
      return parts
  return {}


def _takes(family: Family, given: Mapping[str, str]) -> bool:
  """Returns whether a model of this family can be made of sources of these names."""
  needed = {name for name, part in family.parts.items() if not part.kinds}
  return bool(family.parts) and needed <= given.keys() <= family.parts.keys()


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
