"""Families of models that conversion knows, and how to tell which one a checkpoint is."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from maxtext_ext.checkpoint import qwen3_asr, qwen3_omni, whisper_lm
from maxtext_ext.checkpoint.keymap import SOLE, Family, Source
from maxtext_ext.files.foreign_json import shown

FAMILIES: dict[str, Family] = {
  family.name: family for family in (qwen3_asr.FAMILY, qwen3_omni.FAMILY, whisper_lm.FAMILY)
}


_NAMED = re.compile(r"([a-z_]+)=(.+)")
# Of the models that were converted before their model.yml had a `checkpoint_family`.
_BY_DECODER = {"qwen3": "qwen3_asr", "qwen3_moe": "qwen3_omni"}


def family_of_model(config: Any) -> Family:
  """The family whose names the model of a configuration has: that of its `checkpoint_family`.

  Raises:
    ValueError: there is none of that name, or none is named and `decoder_block` tells of none.
  """
  name = config.checkpoint_family
  if not name and config.speech_model == "ctc":
    raise ValueError(
      "speech_model=ctc: there are no checkpoints of such models elsewhere to convert from or to;"
      " load the folder of the training run"
    )
  if name and name not in FAMILIES:
    raise ValueError(f"checkpoint_family={name}, expected one of {', '.join(FAMILIES)}")
  decoder = str(getattr(config.decoder_block, "value", config.decoder_block))
  if not name and decoder not in _BY_DECODER:
    raise ValueError(
      f"decoder_block={decoder}: no family of checkpoints is known for it; give"
      f" checkpoint_family, one of {', '.join(FAMILIES)}"
    )
  return FAMILIES[name or _BY_DECODER[decoder]]


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


def parse_sources(arguments: Sequence[str]) -> dict[str, str]:
  """Reads `SOURCE`, or `NAME=SOURCE` for each checkpoint of a model that several make.

  ["encoder=openai/whisper-small", "lm=out/lm"] -> {"encoder": "openai/whisper-small", "lm":
  "out/lm"}; ["out/hf"] -> {"": "out/hf"}

  Raises:
    ValueError: several sources, and one has no name or the name of another.
  """
  names = {name for family in FAMILIES.values() for name in family.parts}
  pairs = [_NAMED.fullmatch(argument) for argument in arguments]
  if len(pairs) == 1 and (pairs[0] is None or pairs[0][1] not in names):
    return {SOLE: arguments[0]}
  sources: dict[str, str] = {}
  for argument, pair in zip(arguments, pairs, strict=True):
    if pair is None:
      raise ValueError(
        f"{argument}: expected NAME=SOURCE for each of several; {describe_sources()}"
      )
    if pair[1] in sources:
      raise ValueError(f"{argument}: {pair[1]}={sources[pair[1]]} is given too; give one of them")
    sources[pair[1]] = pair[2]
  return sources


def is_kind(name: str, value: str) -> bool:
  """Returns whether `NAME=VALUE` asks for a new part of a kind, not for a checkpoint."""
  parts = [family.parts[name] for family in FAMILIES.values() if name in family.parts]
  return any(value in part.kinds for part in parts)


def describe_sources() -> str:
  """Says which sources there are."""
  several = [
    f"{family.name} takes {' '.join(_choices(*part) for part in family.parts.items())}"
    for family in FAMILIES.values()
    if family.parts
  ]
  return "; ".join([*several, f"every {'other ' if several else ''}model takes one SOURCE"])


def _choices(name: str, part: Source) -> str:
  kinds = "|".join([*part.kinds, "SOURCE"])
  return f"[{name}={kinds}]" if part.kinds else f"{name}={kinds}"
