"""Keys of evaluation in training, and of scoring."""

from typing import Self

import pydantic
from pydantic import Field

from maxtext_ext.subconfig import Size, SubConfig
from maxtext_ext.text.normalize import NORMALIZERS, get_normalizer


class EvaluationKeys(SubConfig, title="Evaluation"):
  """Evaluation of `eval_split`, every `eval_interval` steps of training and at its end."""

  eval_clips: Size = Field(
    500, description="Clips that are transcribed at each, always the same; 0: the loss alone."
  )
  eval_samples: Size = Field(
    20, description="Of these, so many go to TensorBoard and to samples.jsonl to be read."
  )
  normalizer: str = Field(
    "basic", description=f"Of both sides before scoring: {', '.join(NORMALIZERS)}."
  )
  early_stopping_patience: Size = Field(
    0, description="The run ends after so many without a lower eval/wer; 0: it never does."
  )

  @pydantic.model_validator(mode="after")
  def _check_normalizer(self) -> Self:
    get_normalizer(self.normalizer)
    return self
