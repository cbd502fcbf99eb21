"""Keys of evaluation in training, and of scoring."""

from typing import Self

import pydantic
from pydantic import Field

from maxtext_ext.subconfig import Size, SubConfig
from maxtext_ext.text.normalize import NORMALIZERS, get_normalizer


class EvaluationKeys(SubConfig, title="Evaluation"):
  """Evaluation of `eval_split`, every `eval_interval` steps of training and at its end."""

  eval_clips: Size = Field(
    500, description="Clips transcribed at each evaluation, always the same; 0: loss only."
  )
  eval_samples: Size = Field(
    20, description="Number of these transcripts shown in TensorBoard and samples.jsonl."
  )
  normalizer: str = Field(
    "basic", description=f"Normaliser of references and hypotheses: {', '.join(NORMALIZERS)}."
  )
  early_stopping_patience: Size = Field(
    0, description="Evaluations without a lower eval/wer before training stops; 0: off."
  )

  @pydantic.model_validator(mode="after")
  def _check_normalizer(self) -> Self:
    get_normalizer(self.normalizer)
    return self
