"""Beam search on the host: what it refuses, and the hypotheses of a clip so far."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from maxtext_ext import bridge
from maxtext_ext.decode.request import Request
from maxtext_ext.decode.slots import Writing

# Controls of the choice of tokens, which beam search does not follow, and what asks for nothing.
_OTHER = {"temperature": 0.0, "repetition_penalty": 1.0}

Step = tuple[Int[np.ndarray, "J1"], Float[np.ndarray, "J1"], Int[np.ndarray, "J1"]]


def check_beams(config: bridge.Config) -> None:
  """Checks that the configuration's `beams` fit its other keys.

  Raises:
    ValueError: they do not.
  """
  if config.beams > config.decode_rows:
    raise ValueError(
      f"beams is {config.beams}, expected at most decode_rows={config.decode_rows}, which are the"
      " hypotheses of all clips together; raise decode_rows"
    )
  for name, off in _OTHER.items():
    if (value := getattr(config, name)) != off:
      raise ValueError(
        f"{name}={value} cannot be combined with beams={config.beams}; leave one out"
      )


def check_request(request: Request, beams: int) -> None:
  """Checks that beam search can honour the controls of a request.

  Raises:
    ValueError: it cannot.
  """
  if others := sorted(request.controls & set(_OTHER)):
    raise ValueError(
      f"{request.utterance.sample_id}: {', '.join(others)} cannot be combined with beams={beams};"
      " leave it out"
    )


@dataclasses.dataclass(kw_only=True)
class BeamWriting(Writing):
  """A clip that is being decoded with several hypotheses.

  Attributes:
    beams: their number.
    chosen: tokens, log-probabilities and parents of each step, see `beam_search.Chosen`.
    best: steps of the best hypothesis that has ended; 0: none has.
  """

  beams: int
  chosen: list[Step] = dataclasses.field(default_factory=list)
  best: int = 0

  def add(self, *of_step: Any) -> None:
    """Adds what a step chose, see `beam_search.Chosen`."""
    token, log_prob, parent = of_step
    self.chosen.append((token, log_prob, parent))
    if token[-1] >= 0:
      self.best = len(self.chosen)

  def text(self) -> tuple[list[int], list[float]]:
    """Returns the best hypothesis that has ended; see Writing."""
    tokens, log_probs, place = [], [], self.beams
    for token, log_prob, parent in reversed(self.chosen[: self.best]):
      tokens.append(int(token[place]))
      log_probs.append(float(log_prob[place]))
      place = int(parent[place])
    return tokens[::-1], log_probs[::-1]

  @property
  def steps(self) -> int:
    """See Writing."""
    return len(self.chosen)

  @property
  def width(self) -> int:
    """See Writing."""
    return self.beams
