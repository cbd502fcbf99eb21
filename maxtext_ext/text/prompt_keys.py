"""Keys of prompt and target."""

from typing import Literal

import pydantic
from pydantic import Field

from maxtext_ext.subconfig import SubConfig


class PromptKeys(SubConfig, title="Prompt"):
  """Prompt of the model beside the sound."""

  template: Literal["qwen3_asr", "instruct", "letters"] = Field(
    "qwen3_asr", description="How prompts and targets are written; a key of TEMPLATES."
  )
  language_in_prompt: bool = Field(
    False, description="Give the language in the prompt instead of training the model to say it."
  )
  context: str = Field("", description="Text of the system message, such as names to expect.")
  instruction: str = Field(
    "Transcribe the speech.",
    description="Text between audio and answer; of the template instruct.",
  )

  @pydantic.field_validator("context", "instruction")
  @classmethod
  def _check_context(cls, text: str) -> str:
    try:
      text.encode()
    except UnicodeEncodeError as error:
      raise ValueError(
        f"expected UTF-8, and byte {ord(text[error.start]) & 0xFF:#x} is not"
      ) from error
    return text
