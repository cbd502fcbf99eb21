"""Keys of the model; its shape uses MaxText's own keys.

The encoder's shape uses the `*_for_audio` keys, the language model's the `base_*` keys.
"""

from typing import Any

from pydantic import Field

from maxtext_ext.subconfig import Size, SubConfig


class ModelKeys(SubConfig, title="Model"):
  """Choice of the model; the file of its shape sets MaxText's keys."""

  model_name: str = Field(
    "default",
    description="A file of configs/models, without .yml; or a model.yml, or its folder or URL.",
  )
  speech_model: str = Field("speech_lm", description="Kind of model: its class in models/make.py.")
  speech_encoder: str = Field(
    "qwen3_audio", description="Kind of encoder: its class in models/encoders/."
  )
  encoder: dict[str, Any] = Field(
    {}, description="Shape of the encoder; for qwen3_audio use the *_for_audio keys."
  )
  projector: str = Field(
    "mlp",
    description="Kind of projector between encoder and decoder: its class in models/projector.py.",
  )
  projector_hidden: Size = Field(
    0, description="Width inside a slam or normed_mlp projector; 0: 2048, or the decoder's width."
  )
  frame_dropout: float = Field(
    0.0,
    ge=0,
    lt=1,
    description="Share of the encoder's tokens that training sets to zero before the projector.",
  )
  checkpoint_family: str = Field(
    "",
    description=(
      "Naming scheme of the weights on Hugging Face; a key of checkpoint.families.FAMILIES. Empty:"
      " by decoder_block."
    ),
  )
  embedding_init_std: float = Field(0.02, gt=0, description="Standard deviation of new embeddings.")
