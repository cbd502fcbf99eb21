"""Keys of LoRA adapters."""

from typing import Self

import pydantic
from pydantic import Field

from maxtext_ext.subconfig import Size, SubConfig


class LoraKeys(SubConfig, title="LoRA"):
  """Low-rank adapters beside frozen weights."""

  lora_rank: Size = Field(0, description="Rank of the adapters; 0: train every weight.")
  lora_alpha: float = Field(32.0, gt=0, description="Updates are scaled by lora_alpha / lora_rank.")
  lora_targets: list[str] = Field(
    ["attention", "ffn"], description="Keys of models.lora.TARGETS, or regexes of kernel names."
  )
  lora_dropout: float = Field(
    0.0, ge=0, lt=1, description="Share of an adapter's input that is dropped in training."
  )

  @pydantic.model_validator(mode="after")
  def _check_adapters(self) -> Self:
    if self.lora_dropout and not self.lora_rank:
      raise ValueError(f"lora_dropout={self.lora_dropout} without adapters: give lora_rank too")
    return self
