"""Models of Whisper's encoder, a projector and a dense language model, each a checkpoint.

The encoder is that of `openai/whisper-*`, the language model one of `checkpoint/dense_lm.py`. The
projector is new, or a folder that conversion back wrote: config.json and safetensors with the names
of `_PROJECTOR_RULES`, for tokens of `stack` frames of the encoder side by side.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

from maxtext_ext.checkpoint import dense_lm, whisper
from maxtext_ext.checkpoint.config_schema import Width
from maxtext_ext.checkpoint.keymap import Family, Rule, Source
from maxtext_ext.checkpoint.qwen3_asr import linear
from maxtext_ext.files import foreign_json
from maxtext_ext.models.projector import ProjectorConfig, find_projector

NAMING = "published"
PROJECTOR_TYPE = "stacked_frames_projector"
# The frames that the kinds of new projectors stack, as their authors do; the default first.
STACKS = {"normed_mlp": 4, "slam": 5}


class _Projector(foreign_json.Settings):
  """config.json of a projector; a new one has no widths yet."""

  NEUTRAL: ClassVar[frozenset[str]] = frozenset()

  model_type: Literal["stacked_frames_projector"]
  projector: Literal["normed_mlp", "slam"]
  stack: Width
  input_size: Width | None = None
  hidden_size: Width | None = None
  output_size: Width | None = None


def model_keys(
  configs: Mapping[str, Mapping[str, Any]], sources: Mapping[str, str]
) -> dict[str, Any]:
  """The keys of model.yml.

  Args:
    configs: config.json of each part.
    sources: where they lie, for messages.

  Raises:
    ValueError: a part is of a kind that we have not, or the projector is none between these two.
  """
  projector = foreign_json.check(_Projector, dict(configs["projector"]), sources["projector"])
  keys = {
    "speech_model": "speech_lm",
    "template": "instruct",
    **whisper.encoder_keys(configs["encoder"], sources["encoder"], stack=projector.stack),
    **dense_lm.lm_keys(configs["lm"], sources["lm"]),
    "projector": projector.projector,
  }
  shape = _shape({**keys, "projector_hidden": projector.hidden_size or 0})
  for name, expected in (("input_size", shape.in_dim), ("output_size", shape.out_dim)):
    if (found := getattr(projector, name)) not in (None, expected):
      raise ValueError(
        f"{sources['projector']}: {name}={found}, but {expected} is what this encoder, stack and"
        " language model need; take the projector that was trained with them, or a new one"
      )
  return {**keys, "projector_hidden": find_projector(projector.projector).hidden(shape)}


def _shape(model: Mapping[str, Any]) -> ProjectorConfig:
  encoder = model["encoder"]
  return ProjectorConfig(
    in_dim=encoder["stack"] * encoder["d_model"],
    out_dim=model["base_emb_dim"],
    hidden_dim=model["projector_hidden"],
  )


def sizes(model: Mapping[str, Any]) -> dict[str, int]:
  """Sizes of the axes that the rules name, from the keys of SpeechConfig."""
  shape = _shape(model)
  inside = find_projector(model["projector"]).hidden(shape)
  return {
    **whisper.encoder_sizes(model),
    **dense_lm.sizes(model),
    "stacked": shape.in_dim,
    "inside": inside,
  }


def _slam_rules() -> list[Rule]:
  return [
    *linear("linear_1", "projector/linear_1", "inside", "stacked"),
    *linear("linear_2", "projector/linear_2", "hidden", "inside"),
  ]


def _normed_mlp_rules() -> list[Rule]:
  kernels = [rule for rule in _slam_rules() if rule.hf.endswith(".weight")]
  norms = {"norm_1": "inside", "norm_2": "hidden"}
  return kernels + [
    Rule(hf=f"{name}.weight", ours=f"projector/{name}/scale", layout=f"{axis} -> {axis}")
    for name, axis in norms.items()
  ]


_PROJECTOR_RULES: dict[str, Callable[[], list[Rule]]] = {
  "normed_mlp": _normed_mlp_rules,
  "slam": _slam_rules,
}


def rules(naming: str, tied: bool, model: Mapping[str, Any]) -> list[Rule]:
  """Returns rules for every tensor of the three parts, layers stacked."""
  del naming  # there is one
  projector = _PROJECTOR_RULES[model["projector"]]()
  return [
    *whisper.encoder_rules(source="encoder"),
    *(dataclasses.replace(rule, source="projector") for rule in projector),
    *dense_lm.lm_rules(model, tied=tied, source="lm"),
  ]


def hf_config(
  configs: Mapping[str, Mapping[str, Any]], naming: str, tied: bool
) -> dict[str, Mapping[str, Any]]:
  """config.json of each part: as it came, the projector's with its widths.

  Args:
    configs: those that the model came with.
    naming: of the tensors.
    tied: whether the output head is the embedding.
  """
  del naming
  model = model_keys(configs, {name: f"{name}/config.json" for name in configs})
  shape = _shape(model)
  projector = {
    "model_type": PROJECTOR_TYPE,
    "projector": model["projector"],
    "stack": model["encoder"]["stack"],
    "input_size": shape.in_dim,
    "hidden_size": model["projector_hidden"],
    "output_size": shape.out_dim,
  }
  lm = {**configs["lm"], "tie_word_embeddings": tied}
  return {"encoder": configs["encoder"], "lm": lm, "projector": projector}


FAMILY = Family(
  name="whisper_lm",
  namings=(NAMING,),
  parts={
    "encoder": Source(model_types=(whisper.MODEL_TYPE,), skip=whisper.SKIP),
    "lm": Source(model_types=dense_lm.MODEL_TYPES, tokenizer=True),
    "projector": Source(
      model_types=(PROJECTOR_TYPE,),
      kinds={
        kind: {"model_type": PROJECTOR_TYPE, "projector": kind, "stack": stack}
        for kind, stack in STACKS.items()
      },
    ),
  },
  model_keys=model_keys,
  sizes=sizes,
  rules=rules,
  hf_config=hf_config,
  tied_head=lambda naming: dense_lm.tied_head_rule("lm_head", source="lm"),
  module_naming=NAMING,
)
