"""The project's configuration keys, composed of groups, and checks across groups.

`config.SpeechConfig` puts them on top of MaxText's.
"""

from typing import Self

import pydantic

from maxtext_ext.input.curriculum import Curriculum
from maxtext_ext.input.datasets import Datasets
from maxtext_ext.input.encoded_keys import EncodedKeys, check_encoded
from maxtext_ext.input.filters import Filters
from maxtext_ext.input.host_augment import HostAugment, NoiseOnly, SpecAugment
from maxtext_ext.input.packing_config import Packing
from maxtext_ext.keys.decoding import DecodingKeys
from maxtext_ext.keys.evaluation import EvaluationKeys
from maxtext_ext.keys.run import RunKeys
from maxtext_ext.keys.training import TrainingKeys
from maxtext_ext.models import parts
from maxtext_ext.models.keys import ModelKeys
from maxtext_ext.models.lora_keys import LoraKeys
from maxtext_ext.subconfig import SubConfig
from maxtext_ext.text.prompt_keys import PromptKeys


class SpeechKeys(
  ModelKeys,
  LoraKeys,
  parts.PartKeys,
  Datasets,
  Filters,
  Packing,
  PromptKeys,
  HostAugment,
  NoiseOnly,
  SpecAugment,
  EncodedKeys,
  Curriculum,
  EvaluationKeys,
  DecodingKeys,
  RunKeys,
  TrainingKeys,
):
  """The keys of a speech run beside MaxText's, and those of MaxText that are narrowed."""

  @pydantic.field_validator("run_name")
  @classmethod
  def _check_run_name(cls, name: str) -> str:
    if name.startswith("/") or not {".", ".."}.isdisjoint(name.split("/")):
      raise ValueError("expected the name of a folder in base_output_directory")
    return name

  @pydantic.field_validator("trainable_parameters_mask")
  @classmethod
  def _check_mask(cls, mask: list[str]) -> list[str]:
    if mask:
      raise ValueError("give train_parts or lora_rank instead, which also spare optimizer state")
    return mask

  @pydantic.model_validator(mode="after")
  def _check_together(self) -> Self:
    parts.check(self.train_parts, lora_rank=self.lora_rank, num_experts=self.num_experts)
    check_encoded(self, encoder_trains=parts.trains("encoder", self))
    if self.router_aux_loss_coef and (
      self.num_experts <= 1 or not parts.trains(parts.ROUTER, self)
    ):
      raise ValueError(
        f"router_aux_loss_coef={self.router_aux_loss_coef}, and no router trains: give 0, or train"
        " the router of a model with experts"
      )
    if self.load_balance_loss_weight:
      raise ValueError(
        f"load_balance_loss_weight={self.load_balance_loss_weight} would count padding as tokens:"
        " give router_aux_loss_coef instead, which is num_experts_per_tok times as strong"
      )
    if self.num_experts_per_tok > self.num_experts:
      raise ValueError(
        f"num_experts_per_tok={self.num_experts_per_tok}, expected at most"
        f" num_experts={self.num_experts}"
      )
    if self.early_stopping_patience and not (self.eval_interval > 0 and self.eval_clips):
      raise ValueError(
        f"early_stopping_patience={self.early_stopping_patience} counts evaluations with"
        " transcripts, and there are none: give eval_interval and eval_clips above 0"
      )
    if self.attention.startswith("cudnn_flash"):
      raise ValueError(
        f"attention={self.attention} does not keep the clips of a row apart: give autoselected or"
        " dot_product"
      )
    return self


def groups() -> tuple[type[SubConfig], ...]:
  """Returns the groups of the project's own keys in the order of lists."""
  return tuple(base for base in SpeechKeys.__bases__ if issubclass(base, SubConfig))
