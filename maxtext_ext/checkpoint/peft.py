"""PEFT adapters: a folder with adapter_config.json and adapter_model.safetensors, in and out.

Names and axes follow from the key table of the model: a kernel's rule says where its A and B lie.
Source: `peft.LoraConfig` and the files of `PeftModel.save_pretrained`, peft 0.21.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from etils import epath
from safetensors import deserialize

from maxtext_ext import bridge
from maxtext_ext.checkpoint.families import FAMILIES
from maxtext_ext.checkpoint.hf_io import DTYPES
from maxtext_ext.checkpoint.keymap import (
  Family,
  Rule,
  check_names,
  our_shapes,
  places_by_name,
)
from maxtext_ext.checkpoint.model_file import shape_keys
from maxtext_ext.models.lora import (
  LORA_A,
  LORA_B,
  TARGETS,
  KernelAxes,
  LoraConfig,
  is_target,
  kernel_name,
)

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
# The naming of transformers' modules, which PEFT adapts: that of the checkpoints, except where
# these prefixes of it were moved.
MODULES = "modules"
_NATIVE = "native"
_MOVED = {"qwen3_omni": {"audio_tower.": "model.audio_tower.", "model.": "model.language_model."}}
RANK = "rank"  # the axis between A and B, in rules
_PREFIX = "base_model.model."
_LAYER_AXES = ("layer", "block")  # of the rules; other axes that are indices count experts
# Which family a decoder belongs to, where nothing but the configuration is known.
_FAMILY_OF = {"qwen3": "qwen3_asr", "qwen3_moe": "qwen3_omni"}
# Keys of adapter_config.json that would change the arithmetic, and the values that do not.
_PLAIN = {
  "peft_type": ("LORA",),
  "bias": ("none",),
  "use_rslora": (False, None),
  "use_dora": (False, None),
  "use_qalora": (False, None),
  "fan_in_fan_out": (False, None),
  "lora_bias": (False, None),
  "rank_pattern": ({}, None),
  "alpha_pattern": ({}, None),
  "modules_to_save": ([], None),
  "layer_replication": ([], None),
  "trainable_token_indices": ([], None),
  "alora_invocation_tokens": ([], None),
  "target_parameters": ([], None),
}


@dataclass(frozen=True, kw_only=True)
class Adapters:
  """Adapters under our names.

  Attributes:
    arrays: float32 A and B by path with "/".
    peft: what the files of an imported adapter said beside the numbers, for the way back.
  """

  lora: LoraConfig
  arrays: dict[str, np.ndarray]
  peft: dict[str, Any] | None = None


def family_of(config: bridge.Config) -> Family:
  """The family whose names the model of a configuration has.

  Raises:
    ValueError: none.
  """
  decoder = str(getattr(config.decoder_block, "value", config.decoder_block))
  name = _FAMILY_OF.get(decoder)
  if name not in FAMILIES:
    raise ValueError(f"decoder_block={decoder}: no names for PEFT are known")
  return FAMILIES[name]


def sizes_of(config: bridge.Config, rank: int) -> dict[str, int]:
  """Sizes of the axes that the rules of adapters name."""
  keys = {key: getattr(config, key) for key in shape_keys()}
  return {**family_of(config).sizes(keys), RANK: rank}


def adapter_rules(config: bridge.Config, naming: str) -> dict[str, tuple[Rule, Rule]]:
  """The rules of A and B for every kernel that can be adapted, by our path of the kernel."""
  family, found = family_of(config), {}
  moved = _MOVED.get(family.name, {}) if naming == MODULES else {}
  checkpoint_naming = _NATIVE if naming == MODULES else naming
  for rule in family.rules(checkpoint_naming, config.logits_via_embedding):
    prefix = next((prefix for prefix in moved if rule.hf.startswith(prefix)), "")
    hf = moved.get(prefix, "") + rule.hf.removeprefix(prefix)
    rule = dataclasses.replace(rule, hf=hf)
    name = kernel_name(rule.ours.split("/"))
    if is_target(name, tuple(TARGETS)) and len(rule.hf_groups) == 2 and not rule.at:
      form = rule if config.scan_layers else rule.unscanned()
      found[form.ours] = _pair(form)
  return found


def _pair(kernel: Rule) -> tuple[Rule, Rule]:
  outputs, inputs = kernel.hf_groups
  counted = [axis for axis in kernel.our_axes if axis not in kernel.hf_axes]
  stacks = [axis for axis in counted if axis in _LAYER_AXES]
  axes = KernelAxes(
    batch=len(counted) - len(stacks),
    inputs=len(inputs),
    stack=kernel.our_axes.index(stacks[0]) if stacks else None,
  )
  a_axes, b_axes = axes.adapters(kernel.our_axes, RANK)
  module = _PREFIX + kernel.hf.removesuffix(".weight")
  return (
    Rule(
      hf=f"{module}.lora_A.weight",
      ours=kernel.ours + LORA_A,
      layout=f"{RANK} ({' '.join(inputs)}) -> {' '.join(a_axes)}",
    ),
    Rule(
      hf=f"{module}.lora_B.weight",
      ours=kernel.ours + LORA_B,
      layout=f"({' '.join(outputs)}) {RANK} -> {' '.join(b_axes)}",
    ),
  )


def read_peft(folder: str, config: bridge.Config) -> Adapters:
  """The adapters of a PEFT folder, for the model of `config`.

  Raises:
    KeyTableError: a tensor belongs to no kernel that can be adapted, or a layer's is missing, or
      one has another shape; lists them all.
    ValueError: no adapter there, or one that is more than LoRA.
  """
  text, given = _read_config(folder)
  tensors, info = _read_tensors(folder)
  rank = given["r"]
  sizes = sizes_of(config, rank)

  def used(naming: str) -> dict[str, tuple[Rule, Rule]]:
    return {
      path: pair
      for path, pair in adapter_rules(config, naming).items()
      if any(rule.match(name) is not None for rule in pair for name in tensors)
    }

  naming = max((MODULES, *family_of(config).namings), key=lambda naming: len(used(naming)))
  rules = [rule for pair in used(naming).values() for rule in pair]
  expected = {
    name: places[0].rule.hf_shape(sizes) for name, places in places_by_name(rules, sizes).items()
  }
  check_names(expected, {name: value.shape for name, value in tensors.items()}, folder)
  arrays = {path: np.zeros(shape, np.float32) for path, shape in our_shapes(rules, sizes).items()}
  for name, places in places_by_name(rules, sizes).items():
    for place in places:
      arrays[place.path][place.slot()] = place.rule.view(tensors[name], sizes)
  lora = LoraConfig(
    rank=rank, alpha=float(given["lora_alpha"]), targets=_targets(used(naming), config, naming)
  )
  return Adapters(lora=lora, arrays=arrays, peft={"config": text, "naming": naming, **info})


def _targets(used: Mapping[str, Any], config: bridge.Config, naming: str) -> tuple[str, ...]:
  """Keys of TARGETS where all their kernels are used, and the names of the other kernels."""

  def names(paths: Mapping[str, Any]) -> set[str]:
    return {kernel_name(re.sub(r"_\{\w+\}", "", path).split("/")) for path in paths}

  left, known = names(used), names(adapter_rules(config, naming))
  found = []
  for target in TARGETS:
    group = {name for name in known if is_target(name, [target])}
    if group and group <= left:
      found.append(target)
      left -= group
  return (*found, *sorted(left))


def write_peft(
  folder: str, adapters: Adapters, config: bridge.Config, *, base_name: str | None = None
) -> None:
  """Writes a PEFT folder; one that was imported comes out byte for byte as it came in.

  Args:
    folder: exists already.
    base_name: of the model for `PeftModel.from_pretrained`, a hub id or a path; None: not said.
  """
  peft = adapters.peft or {"naming": MODULES, "dtype": "F32", "metadata": {"format": "pt"}}
  sizes = sizes_of(config, adapters.lora.rank)
  pairs = adapter_rules(config, peft["naming"])
  kept = [
    rule
    for pair in pairs.values()
    for rule in pair
    if next(rule.places(sizes)).path in adapters.arrays
  ]
  check_names(
    our_shapes(kept, sizes), {path: x.shape for path, x in adapters.arrays.items()}, "adapters"
  )
  tensors = {}
  for name, places in places_by_name(kept, sizes).items():
    value = np.empty(places[0].rule.hf_shape(sizes), DTYPES[peft["dtype"]])
    for place in places:
      place.rule.view(value, sizes)[...] = adapters.arrays[place.path][place.slot()]
    tensors[name] = value
  text = peft.get("config") or _new_config(adapters.lora, kept, base_name)
  target = epath.Path(folder)
  (target / WEIGHTS).write_bytes(_encode(tensors, peft["dtype"], peft["metadata"]))
  (target / CONFIG).write_text(text)


def _new_config(lora: LoraConfig, rules: list[Rule], base_name: str | None) -> str:
  # A regex over whole module names: `q_proj` alone would name modules of both towers.
  modules = {rule.hf.removeprefix(_PREFIX).rsplit(".", 2)[0] for rule in rules}
  patterns = {re.sub(r"\\{\w+\\}", r"\\d+", re.escape(module)) for module in modules}
  # transformers fuses experts, and peft then looks for their names without a number.
  patterns = {pattern.replace(r".experts\.\d+\.", r".experts\.(\d+\.)?") for pattern in patterns}
  content = {
    "base_model_name_or_path": base_name,
    "bias": "none",
    "fan_in_fan_out": False,
    "inference_mode": True,
    "init_lora_weights": True,
    "lora_alpha": int(lora.alpha) if lora.alpha == int(lora.alpha) else lora.alpha,
    "lora_dropout": 0.0,
    "modules_to_save": None,
    "peft_type": "LORA",
    "r": lora.rank,
    "target_modules": "|".join(sorted(patterns)),
    "task_type": None,
    "use_dora": False,
    "use_rslora": False,
  }
  return json.dumps(content, indent=2, sort_keys=True)


def _read_config(folder: str) -> tuple[str, dict[str, Any]]:
  file = epath.Path(folder) / CONFIG
  if not file.exists():
    raise ValueError(f"{folder}: no {CONFIG} there, expected the folder of a PEFT adapter")
  text = file.read_text()
  try:
    given = json.loads(text)
  except json.JSONDecodeError as error:
    raise ValueError(f"{file} is not JSON: {error}") from error
  other = {k: given[k] for k, plain in _PLAIN.items() if k in given and given[k] not in plain}
  missing = [key for key in ("r", "lora_alpha") if key not in given]
  if other or missing:
    said = [f"{key}={value!r}" for key, value in other.items()] + [f"no {key}" for key in missing]
    raise ValueError(f"{file}: {', '.join(said)}; only plain LoRA of linear maps can be imported")
  return text, given


def _read_tensors(folder: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """The tensors, and the element type and metadata of the file."""
  file = epath.Path(folder) / WEIGHTS
  if not file.exists():
    raise ValueError(f"{folder}: no {WEIGHTS} there, expected the folder of a PEFT adapter")
  data = file.read_bytes()
  found = dict(deserialize(data))
  dtypes = sorted({entry["dtype"] for entry in found.values()})
  if len(dtypes) != 1 or dtypes[0] not in DTYPES:
    raise ValueError(f"{file}: types {', '.join(dtypes)}, expected one of {', '.join(DTYPES)}")
  tensors = {
    name: np.frombuffer(entry["data"], DTYPES[dtypes[0]]).reshape(entry["shape"])
    for name, entry in found.items()
  }
  header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
  return tensors, {"dtype": dtypes[0], "metadata": header.get("__metadata__")}


def _encode(
  tensors: Mapping[str, np.ndarray], dtype: str, metadata: Mapping[str, str] | None
) -> bytes:
  """A safetensors file, in the package's order: by name."""
  header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
  end = 0
  for name in sorted(tensors):
    start, end = end, end + tensors[name].nbytes
    shape = list(tensors[name].shape)
    header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
  encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
  encoded += b" " * (-len(encoded) % 8)
  data = b"".join(tensors[name].tobytes() for name in sorted(tensors))
  return len(encoded).to_bytes(8, "little") + encoded + data
