"""PEFT adapters: a folder with adapter_config.json and adapter_model.safetensors, read and written.

Names and axes follow from the key table of the model: a kernel's rule says where its A and B lie.
Source: `peft.LoraConfig` and the files of `PeftModel.save_pretrained`, peft 0.21.
"""

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from etils import epath

from maxtext_ext import bridge
from maxtext_ext.checkpoint import peft_config
from maxtext_ext.checkpoint.families import family_of_model
from maxtext_ext.checkpoint.hf_io import HfReader, NonfiniteError, count_nonfinite
from maxtext_ext.checkpoint.keymap import (
  Place,
  Rule,
  check_names,
  our_shapes,
)
from maxtext_ext.checkpoint.peft_config import FILE as CONFIG
from maxtext_ext.checkpoint.peft_config import PeftConfig
from maxtext_ext.checkpoint.peft_rules import (
  MODULES,
  PREFIX,
  RANK,
  adapter_rules,
  sizes_of,
)
from maxtext_ext.checkpoint.safetensors_header import DTYPES
from maxtext_ext.files import foreign_folder, foreign_json
from maxtext_ext.models.lora import (
  LORA_B,
  TARGETS,
  LoraConfig,
  is_target,
  kernel_name,
)

WEIGHTS = "adapter_model.safetensors"


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


def read_peft(folder: str, config: bridge.Config, *, allow_nonfinite: bool = False) -> Adapters:
  """The adapters of a PEFT folder, for the model of `config`.

  Modules of lower ranks are filled up with zeros, which stay zero in training, and where scales
  differ B takes the difference: the numbers of a model are those of PEFT.

  Args:
    allow_nonfinite: read NaN and infinite values too.

  Raises:
    KeyTableError: a tensor belongs to no kernel that can be adapted, or a layer's is missing, or
      one has another shape; lists them all.
    NonfiniteError: values are NaN or infinite.
    ValueError: no adapter there, or one that is more than LoRA.
  """
  text, settings = _read_config(folder)
  with HfReader(folder, [WEIGHTS]) as reader:
    dtype = _dtype_of(reader, folder)
    naming, used = _used_rules(reader.tensors, config)
    rules = [rule for pair in used.values() for rule in pair]
    known = [place for rule in rules for place in rule.places(sizes_of(config, 1))]
    places = [place for place in known if settings.is_adapted(_module(place))]
    left_out = {place.hf for place in known} - {place.hf for place in places}
    if aside := sorted(left_out & reader.tensors.keys()):  # PEFT would pass over them
      raise ValueError(
        f"{os.path.join(folder, CONFIG)} adapts none of the modules of {len(aside)} tensors, such"
        f" as {aside[0]}"
      )
    ranks = {_module(place): settings.rank(_module(place)) for place in places}
    sizes = {rank: sizes_of(config, rank) for rank in {*ranks.values(), settings.r}}
    expected = {p.hf: p.rule.hf_shape(sizes[ranks[_module(p)]]) for p in places}
    check_names(expected, {name: info.shape for name, info in reader.tensors.items()}, folder)
    lora = _joint(settings, ranks, _targets(used, config, naming))
    shapes = our_shapes(rules, sizes_of(config, lora.rank))
    arrays = {path: np.zeros(shape, np.float32) for path, shape in shapes.items()}
    nonfinite = {}
    for place in places:
      tensor = reader.read(place.hf)
      if count := count_nonfinite(tensor):
        nonfinite[place.hf] = count
      own_sizes = sizes[ranks[_module(place)]]
      value = place.rule.view(tensor, own_sizes)
      factor = settings.scale(_module(place)) / lora.scale * place.rule.factor(own_sizes)
      arrays[place.path][_slot(place, ranks[_module(place)])] = _scaled(place, value, factor)
  if nonfinite and not allow_nonfinite:
    raise NonfiniteError(folder, nonfinite)
  peft = {"config": text, "naming": naming, "dtype": dtype, "metadata": reader.metadata}
  return Adapters(lora=lora, arrays=arrays, peft=peft)


def _used_rules(
  names: Iterable[str], config: bridge.Config
) -> tuple[str, dict[str, tuple[Rule, Rule]]]:
  """The naming that explains most of an adapter's tensors, and the rules of the kernels there."""

  def used(naming: str) -> dict[str, tuple[Rule, Rule]]:
    return {
      path: pair
      for path, pair in adapter_rules(config, naming).items()
      if any(rule.match(name) is not None for rule in pair for name in names)
    }

  naming = max((MODULES, *family_of_model(config).namings), key=lambda naming: len(used(naming)))
  return naming, used(naming)


def _module(place: Place) -> str:
  """The name of the linear map that A or B belongs to, as PEFT sees it."""
  return place.hf.removeprefix(PREFIX).rsplit(".", 2)[0]


def _slot(place: Place, rank: int) -> tuple[int | slice, ...]:
  """The part of our array that a tensor of a rank fills."""
  return tuple(
    slice(rank) if axis == RANK else index
    for axis, index in zip(place.rule.our_axes, place.slot(), strict=True)
  )


def _scaled(place: Place, values: np.ndarray, factor: float) -> np.ndarray:
  """B times a factor; A, and B where there is nothing to do, as it is."""
  if factor == 1 or not place.path.endswith(LORA_B):
    return values
  return (values.astype(np.float64) * factor).astype(np.float32)


def _joint(settings: PeftConfig, ranks: Mapping[str, int], targets: tuple[str, ...]) -> LoraConfig:
  """One rank for all modules, the largest, and the scale that most of them have."""
  rank = max(ranks.values(), default=settings.r)
  scales = Counter(settings.scale(module) for module in ranks)
  scale = scales.most_common(1)[0][0] if scales else settings.scale("")
  model = next((module for module in ranks if settings.scale(module) == scale), "")
  own = settings.rank(model)
  # For one rank without rsLoRA exactly the file's alpha.
  alpha = settings.alpha(model) * (rank / (math.sqrt(own) if settings.use_rslora else own))
  return LoraConfig(rank=rank, alpha=alpha, targets=targets)


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
  """Writes a PEFT folder; an imported one is reproduced byte for byte.

  Args:
    folder: exists already.
    base_name: of the model for `PeftModel.from_pretrained`, a hub id or a path; None: not said.
  """
  peft = adapters.peft or {"naming": MODULES, "dtype": "F32", "metadata": {"format": "pt"}}
  text = peft.get("config")
  settings = peft_config.read(text.encode(), CONFIG) if text else None
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
  family = family_of_model(config)
  if beside := sorted({rule.source for rule in kept if not family.sources[rule.source].tokenizer}):
    raise ValueError(
      f"adapters of the {' and the '.join(beside)}: PEFT's files hold those of one model, the"
      " language model; `maxtext-ext convert merge-adapter` merges them into full weights"
    )
  tensors = {}
  for place in (place for rule in kept for place in rule.places(sizes)):
    rank, factor = adapters.lora.rank, 1.0
    if settings is not None:
      if not settings.is_adapted(_module(place)):
        continue
      rank = settings.rank(_module(place))
      factor = adapters.lora.scale / settings.scale(_module(place))
    own_sizes = {**sizes, RANK: rank}
    value = np.empty(place.rule.hf_shape(own_sizes), DTYPES[peft["dtype"]])
    stored = adapters.arrays[place.path][_slot(place, rank)]
    factor /= place.rule.factor(own_sizes)
    place.rule.view(value, own_sizes)[...] = _scaled(place, stored, factor)
    tensors[place.hf] = value
  text = text or _new_config(adapters.lora, kept, base_name)
  target = epath.Path(folder)
  (target / WEIGHTS).write_bytes(_encode(tensors, peft["dtype"], peft["metadata"]))
  (target / CONFIG).write_text(text)


def _new_config(lora: LoraConfig, rules: list[Rule], base_name: str | None) -> str:
  # A regex over whole module names: `q_proj` alone would name modules of both towers.
  modules = {rule.hf.removeprefix(PREFIX).rsplit(".", 2)[0] for rule in rules}
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


def _read_config(folder: str) -> tuple[str, PeftConfig]:
  file = foreign_folder.find(folder, CONFIG)
  if file is None:
    raise ValueError(f"{folder}: no {CONFIG} there, expected the folder of a PEFT adapter")
  data = foreign_json.read_bytes(file)
  return data.decode("utf-8-sig", errors="replace"), peft_config.read(data, str(file))


def _dtype_of(reader: HfReader, folder: str) -> str:
  """The one element type of an adapter's tensors."""
  dtypes = sorted({info.dtype for info in reader.tensors.values()})
  if len(dtypes) != 1 or dtypes[0] not in DTYPES:
    file = os.path.join(folder, WEIGHTS)
    said = ", ".join(dtypes) or "none"
    raise ValueError(f"{file}: types {said}, expected one of {', '.join(DTYPES)}")
  return dtypes[0]


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
