"""The kinds of model that conversion knows, and which one a checkpoint is."""

from collections.abc import Mapping
from typing import Any

from maxtext_ext.checkpoint import qwen3_asr, qwen3_omni
from maxtext_ext.checkpoint.keymap import Family
from maxtext_ext.files.foreign_json import shown

FAMILIES: dict[str, Family] = {
  family.name: family for family in (qwen3_asr.FAMILY, qwen3_omni.FAMILY)
}


def family_of(hf_config: Mapping[str, Any], source: str = "config.json") -> Family:
  """The family of a config.json, by its `model_type`.

  Args:
    source: the file, for messages.

  Raises:
    ValueError: none of ours.
  """
  model_type = hf_config.get("model_type")
  for family in FAMILIES.values():
    if model_type in family.model_types:
      return family
  known = ", ".join(kind for family in FAMILIES.values() for kind in family.model_types)
  raise ValueError(f"{source}: model_type {shown(model_type)} cannot be converted; known: {known}")
