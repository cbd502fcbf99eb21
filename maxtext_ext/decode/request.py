"""Clip to decode, and how to decode it."""

import math
from dataclasses import KW_ONLY, dataclass

from maxtext_ext.input.utterance import Utterance


@dataclass(frozen=True)
class Request:
  """Clip to decode, and its controls; a control that is None is the configuration's.

  An engine that cannot honour a control refuses the request.

  Attributes:
    max_new_tokens: tokens that its text may have; those of the configuration are the most for any
      clip.
    temperature: divides the logits of the tokens that are drawn; 0: the likeliest token is taken.
    seed: of what is drawn, 64 bits with a sign. Requests for the same clip with one seed get one
      text. None: made of `sampling_seed` and of the dataset and id of the clip.
    repetition_penalty: makes tokens less likely that the text has already: their logits are divided
      by it if they are positive, else multiplied; 1: does not. Tokens of the prompt do not count.
    draft: tokens that its text may begin with, such as those of an earlier answer, without an eos.
      They change no answer: what greedy decoding would not write is dropped, the rest saves steps.
      With a temperature or a penalty they are not used.

  Raises:
    ValueError: a value out of range.
  """

  utterance: Utterance
  _: KW_ONLY
  max_new_tokens: int | None = None
  temperature: float | None = None
  seed: int | None = None
  repetition_penalty: float | None = None
  draft: tuple[int, ...] = ()

  def __post_init__(self) -> None:
    if self.max_new_tokens is not None and self.max_new_tokens < 1:
      raise ValueError(f"max_new_tokens is {self.max_new_tokens}, expected at least 1")
    if self.temperature is not None and not 0 <= self.temperature < math.inf:
      raise ValueError(f"temperature is {self.temperature}, expected 0 or more")
    if self.seed is not None and not -(2**63) <= self.seed < 2**63:
      raise ValueError(f"seed is {self.seed}, expected -2^63 to 2^63 - 1")
    if self.repetition_penalty is not None and not 0 < self.repetition_penalty < math.inf:
      raise ValueError(f"repetition_penalty is {self.repetition_penalty}, expected more than 0")

  @property
  def controls(self) -> frozenset[str]:
    """Returns the names of the controls that change its text."""
    is_set = {
      "max_new_tokens": self.max_new_tokens is not None,
      "temperature": bool(self.temperature),
      "repetition_penalty": self.repetition_penalty not in (None, 1.0),
    }
    return frozenset(name for name, value in is_set.items() if value)
