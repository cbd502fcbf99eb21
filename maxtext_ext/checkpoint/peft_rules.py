"""Names of PEFT's modules: rules for A and B of every kernel that can be adapted."""

import dataclasses

from maxtext_ext import bridge
from maxtext_ext.checkpoint.families import family_of_model
from maxtext_ext.checkpoint.keymap import Rule
from maxtext_ext.models.lora import (
  LORA_A,
  LORA_B,
  TARGETS,
  KernelAxes,
  is_target,
  kernel_name,
)

# The naming of transformers' modules, which PEFT adapts: the family's `module_naming`, except for
# its `moved_modules`.
MODULES = "modules"
RANK = "rank"  # the axis between A and B, in rules
PREFIX = "base_model.model."
_LAYER_AXES = ("layer", "block")  # of the rules; other axes that are indices count experts


def sizes_of(config: bridge.Config, rank: int) -> dict[str, int]:
  """Sizes of the axes that the rules of adapters name."""
  return {**family_of_model(config).sizes(bridge.keys_of(config)), RANK: rank}


def adapter_rules(config: bridge.Config, naming: str) -> dict[str, tuple[Rule, Rule]]:
  """The rules of A and B for every kernel that can be adapted, by our path of the kernel."""
  family, found = family_of_model(config), {}
  if naming not in (known := (MODULES, *family.namings)):
    raise ValueError(f"names {naming!r}: {family.name} has {', '.join(known)}")
  moved = family.moved_modules if naming == MODULES else {}
  checkpoint_naming = family.module_naming if naming == MODULES else naming
  model = bridge.keys_of(config)
  for rule in family.rules(checkpoint_naming, config.logits_via_embedding, model):
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
  module = PREFIX + kernel.hf.removesuffix(".weight")
  return (
    Rule(
      hf=f"{module}.lora_A.weight",
      ours=kernel.ours + LORA_A,
      layout=f"{RANK} ({' '.join(inputs)}) -> {' '.join(a_axes)}",
      source=kernel.source,
    ),
    Rule(
      hf=f"{module}.lora_B.weight",
      ours=kernel.ours + LORA_B,
      layout=f"({' '.join(outputs)}) {RANK} -> {' '.join(b_axes)}",
      over_root=kernel.over_root,
      source=kernel.source,
    ),
  )
