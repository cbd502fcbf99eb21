"""Qwen3-Omni checkpoints: the thinker's audio tower and mixture-of-experts language model.

Source: `Qwen/Qwen3-Omni-30B-A3B-*`, and what `Qwen3OmniMoeForConditionalGeneration` and
`Qwen3OmniMoeThinkerForConditionalGeneration` of transformers load and save. The talker, code2wav
and the vision tower are not needed for speech in and text out: they are skipped by name.
"""

import copy
from collections.abc import Mapping
from typing import Any

from maxtext_ext.checkpoint import config_schema, dense_lm, qwen3_asr
from maxtext_ext.checkpoint.keymap import Family, Rule
from maxtext_ext.checkpoint.qwen3_asr_config import first_said, speech_keys
from maxtext_ext.files import foreign_json

# As published: the whole model, whose thinker this is. Native: the thinker alone, as transformers
# saves it. Both keep every expert's matrices apart; fused, as transformers has them in memory, one
# tensor holds those of all experts, and the gates lie above the ups.
ORIGINAL, NATIVE = "original", "native"
ORIGINAL_FUSED, NATIVE_FUSED = "original-fused", "native-fused"

FULL_TYPE, THINKER_TYPE = "qwen3_omni_moe", "qwen3_omni_moe_thinker"
_FULL_CLASS = "Qwen3OmniMoeForConditionalGeneration"
_THINKER_CLASS = "Qwen3OmniMoeThinkerForConditionalGeneration"

# Settings under which MaxText's decoder gives transformers' numbers; the reasons stand in
# configs/models/qwen3-omni-30b-a3b.yml.
_EXACT = {
  "norm_topk_prob": False,
  "float32_gate_logits": False,
  "float32_weight_sum": True,
  "capacity_factor": -1.0,
  "sparse_matmul": True,
  "load_balance_loss_weight": 0.0,
}


def expert_rules(text: str, *, fused: bool) -> list[Rule]:
  """The router and the experts of every layer."""
  hf, ours = f"{text}.layers.{{layer}}.mlp", "decoder/layers/moe_block"
  gate = Rule(
    hf=f"{hf}.gate.weight",
    ours=f"{ours}/gate/kernel",
    layout="expert hidden -> hidden layer expert",
  )
  up_axes, down_axes = "expert layer hidden mlp", "expert layer mlp hidden"
  if not fused:
    matrices = {
      "gate_proj": ("wi_0", f"mlp hidden -> {up_axes}"),
      "up_proj": ("wi_1", f"mlp hidden -> {up_axes}"),
      "down_proj": ("wo", f"hidden mlp -> {down_axes}"),
    }
    return [gate] + [
      Rule(hf=f"{hf}.experts.{{expert}}.{name}.weight", ours=f"{ours}/{path}", layout=layout)
      for name, (path, layout) in matrices.items()
    ]
  halves = [
    Rule(
      hf=f"{hf}.experts.gate_up_proj",
      ours=f"{ours}/wi_{part}",
      layout=f"expert (part mlp) hidden -> {up_axes}",
      at={"part": part},
    )
    for part in (0, 1)
  ]
  down = Rule(
    hf=f"{hf}.experts.down_proj", ours=f"{ours}/wo", layout=f"expert hidden mlp -> {down_axes}"
  )
  return [gate, *halves, down]


def rules(naming: str, tied: bool, model: Mapping[str, Any] | None = None) -> list[Rule]:
  """Returns rules for every tensor that is kept, the decoder's layers stacked.

  Args:
    model: its keys, on which no name depends.
  """
  del model
  prefix = "thinker." if naming in (ORIGINAL, ORIGINAL_FUSED) else ""
  tower, text = f"{prefix}audio_tower", f"{prefix}model"
  result = qwen3_asr.audio_rules(tower, f"{tower}.proj1", f"{tower}.proj2")
  result += dense_lm.attention_rules(text)
  result += expert_rules(text, fused=naming in (ORIGINAL_FUSED, NATIVE_FUSED))
  return result if tied else [*result, dense_lm.head_rule(f"{prefix}lm_head")]


def sizes(model: Mapping[str, Any]) -> dict[str, int]:
  """Sizes of the axes that the rules name, from the keys of SpeechConfig."""
  return {**qwen3_asr.sizes(model), "expert": model["num_experts"], "part": 2}


def model_keys(hf_config: Mapping[str, Any], source: str = "config.json") -> dict[str, Any]:
  """The keys of model.yml, from the config.json of the whole model or of its thinker alone.

  Args:
    source: the file, for messages.

  Raises:
    ValueError: config.json lacks a key, or asks for what we have not.
  """
  is_full = "thinker_config" in hf_config
  schema = config_schema.OmniFull if is_full else config_schema.OmniThinker
  checked = foreign_json.check(schema, dict(hf_config), source)
  inside = getattr(checked, "thinker_config", checked)
  text = inside.text_config
  return {
    **speech_keys(inside.audio_config, text),
    "base_mlp_dim": text.moe_intermediate_size,
    "base_moe_mlp_dim": text.moe_intermediate_size,
    "decoder_block": "qwen3_moe",
    "num_experts": text.num_experts,
    "num_experts_per_tok": text.num_experts_per_tok,
    **_EXACT,
    "logits_via_embedding": _is_tied(hf_config),
  }


def _is_tied(hf_config: Mapping[str, Any]) -> bool:
  inside = hf_config.get("thinker_config", hf_config)
  # The first that says it is the one that transformers reads.
  return first_said("tie_word_embeddings", (inside, inside["text_config"]), default=False)


def hf_config(source: Mapping[str, Any], naming: str, tied: bool) -> dict[str, Any]:
  """config.json of a converted model, for the names that its tensors get.

  Args:
    source: the config.json that the model came with, of the whole model or of its thinker.
    tied: whether the output head is the embedding.
  """
  result = copy.deepcopy(dict(source))
  versions: dict[str, Any] = {
    key: result[key] for key in ("transformers_version", "dtype") if key in result
  }
  if naming in (NATIVE, NATIVE_FUSED):
    result = {**versions, **result.get("thinker_config", result)}
    result |= {"architectures": [_THINKER_CLASS], "model_type": THINKER_TYPE}
  else:
    if "thinker_config" not in result:
      result = {"architectures": [_FULL_CLASS], **versions, "thinker_config": result}
    # The talker's tensors are not written, so it must not be built.
    result |= {"model_type": FULL_TYPE, "enable_audio_output": False}
  inside = result.get("thinker_config", result)
  inside["tie_word_embeddings"] = tied
  return result


FAMILY = Family(
  name="qwen3_omni",
  model_types=(FULL_TYPE, THINKER_TYPE),
  namings=(ORIGINAL, NATIVE, ORIGINAL_FUSED, NATIVE_FUSED),
  skip=(r"(thinker\.)?visual\..+", r"talker\..+", r"code2wav\..+"),
  model_keys=model_keys,
  sizes=sizes,
  rules=rules,
  hf_config=hf_config,
  moved_modules={"audio_tower.": "model.audio_tower.", "model.": "model.language_model."},
)
