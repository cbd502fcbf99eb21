"""Models by name, and how one is made; chosen by the key `speech_model`."""

from typing import Any

import jax
from jax.sharding import Mesh

from maxtext_ext import bridge
from maxtext_ext.models.ctc import SpeechCTC
from maxtext_ext.models.encoders import encoder_config
from maxtext_ext.models.lora import LoraConfig, apply_lora
from maxtext_ext.models.parts import ADAPTERS, ROUTER
from maxtext_ext.models.projector import find_projector
from maxtext_ext.models.speech_lm import SpeechLM

MODELS: dict[str, Any] = {"speech_lm": SpeechLM, "ctc": SpeechCTC}


def model_class(config: Any) -> Any:
  """Returns the class of the model that a configuration describes.

  Raises:
    ValueError: there is none of that name.
  """
  if config.speech_model not in MODELS:
    raise ValueError(f"speech_model={config.speech_model}, expected one of {', '.join(MODELS)}")
  return MODELS[config.speech_model]


def groups_of(config: Any) -> tuple[str, ...]:
  """Returns the parameter groups that a model may have; `train_parts` chooses among them."""
  return (*dict.fromkeys(model_class(config).GROUPS.values()), ROUTER, ADAPTERS)


def check_model_keys(config: Any) -> None:
  """Checks the keys that name parts of a model against what there is.

  Raises:
    ValueError: a model, an encoder, a projector or a parameter group is unknown, the keys of the
      encoder cannot be used, or the model's rows are none for it.
  """
  groups = groups_of(config)
  if unknown := [name for name in config.train_parts if name not in groups]:
    raise ValueError(
      f"train_parts: {', '.join(unknown)} is no part, expected some of {', '.join(groups)}"
    )
  find_projector(config.projector)
  if encoder_config(config).ONE_CLIP_A_ROW and model_class(config).LAYOUT != "bucketed":
    raise ValueError(
      f"speech_encoder={config.speech_encoder} needs rows of one clip each, and those of"
      f" speech_model={config.speech_model} hold several; choose another of the two"
    )


def make_model(
  config: bridge.Config, mesh: Mesh, *, model_mode: str = bridge.MODEL_MODE_TRAIN
) -> Any:
  """Makes a model with weights drawn from `init_weights_seed`; call it inside `mesh_scope`.

  The streams are those of training whatever the mode, so that a model for generation starts from
  the same weights. With `lora_rank` it is adapted, and its other weights are those without.
  """
  rngs = bridge.make_rngs(config)
  model = model_class(config)(config, mesh, model_mode=model_mode, rngs=rngs)
  if lora := LoraConfig.from_config(config):
    adapted = apply_lora(model, lora, jax.random.key(config.init_weights_seed))
    if config.lora_dropout and any(axes.batch for axes in adapted.values()):
      raise ValueError(
        f"lora_dropout={config.lora_dropout}: adapters of experts have none; give lora_dropout=0,"
        " or lora_targets without experts"
      )
  return model
