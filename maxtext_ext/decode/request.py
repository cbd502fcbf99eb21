"""Clip to decode, and how to decode it."""

from dataclasses import KW_ONLY, dataclass

from maxtext_ext.input.utterance import Utterance


@dataclass(frozen=True)
class Request:
  """Clip to decode.

  Attributes:
    max_new_tokens: tokens that its text may have; None: those of the configuration, which are the
      most for any clip.

  Raises:
    ValueError: a value out of range.
  """

  utterance: Utterance
  _: KW_ONLY
  max_new_tokens: int | None = None

  def __post_init__(self) -> None:
    if self.max_new_tokens is not None and self.max_new_tokens < 1:
      raise ValueError(f"max_new_tokens is {self.max_new_tokens}, expected at least 1")
