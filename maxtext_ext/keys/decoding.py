"""Keys of decoding."""

import pydantic
from pydantic import Field

from maxtext_ext.subconfig import Count, Size, SubConfig

# Weights that `decode_checkpoint` names, beside those of a step of the run.
CHECKPOINTS = ("best", "latest", "base", "untrained")


class DecodingKeys(SubConfig, title="Decoding"):
  """Split and weights of decoding, and the folder of the hypotheses."""

  split: str = Field("test", description="The split to decode.")
  output: str = Field("", description="Folder of hypotheses; default: {run}/decoded/{split}.")
  decode_checkpoint: str = Field(
    "best",
    description=(
      "best (the lowest eval/wer; without any, the latest), latest or a step of the run, base:"
      " load_parameters_path, or untrained: random weights."
    ),
  )
  decode_rows: Count = Field(32, description="Clips decoded together on one device.")
  max_new_tokens: Count = Field(512, description="Longest transcript, in tokens.")
  tokens_per_second: float = Field(
    6.0,
    gt=0,
    description=(
      "Usual length of a transcript; memory is kept for so many tokens a second of audio, and more"
      " is given to a clip that needs it."
    ),
  )
  loop_repeats: Size = Field(
    32,
    description="End a transcript that repeats its last 1 to 16 tokens so often; 0: never.",
  )

  @pydantic.field_validator("decode_checkpoint")
  @classmethod
  def _check_checkpoint(cls, name: str) -> str:
    if name in CHECKPOINTS or (name.isascii() and name.isdigit()):
      return str(int(name)) if name.isdigit() else name
    raise ValueError(f"expected {', '.join(CHECKPOINTS)} or a step")
