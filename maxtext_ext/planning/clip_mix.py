"""Lengths of the clips that a plan for decoding assumes."""

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np

SPREAD = 0.7  # standard deviation of the logarithm of a clip's seconds
SHORTEST, LONGEST = 0.5, 30.0  # seconds
TEXT_RATE = 3.0  # tokens of a transcript for a second of speech, in many languages
TEMPLATE_TOKENS = 15  # of a prompt, beside those of its audio
_CLIPS = 1000


@dataclass(frozen=True, kw_only=True)
class ClipMix:
  """Clips with log-normal lengths between SHORTEST and LONGEST.

  Attributes:
    median: seconds.
    tokens_per_chunk, chunk_seconds, chunks_per_window: of the encoder.
  """

  median: float
  tokens_per_chunk: int
  chunk_seconds: float
  chunks_per_window: int

  @cached_property
  def seconds(self) -> np.ndarray:
    """Lengths of typical clips, float64 [N], shortest first: quantiles, not drawn."""
    normal = NormalDist(math.log(self.median), SPREAD)
    quantiles = [normal.inv_cdf((i + 0.5) / _CLIPS) for i in range(_CLIPS)]
    return np.clip(np.exp(quantiles), SHORTEST, LONGEST)

  @property
  def prompt_tokens(self) -> np.ndarray:
    """Tokens of the prompt of each clip."""
    return self._chunks * self.tokens_per_chunk + TEMPLATE_TOKENS

  @property
  def windows(self) -> np.ndarray:
    """Audio windows of each clip, which it shares with no other."""
    return np.ceil(self._chunks / self.chunks_per_window)

  @property
  def steps(self) -> np.ndarray:
    """Tokens that the decoder writes for each clip, the eos included."""
    return np.ceil(self.seconds * TEXT_RATE) + 1

  @property
  def _chunks(self) -> np.ndarray:
    return np.ceil(self.seconds / self.chunk_seconds)

  def places_read(self, block: int) -> float:
    """Returns the places of a slot that a step reads, on average.

    Clips of about equal length are decoded together, so that blocks of `block` places behind the
    longest are left out.
    """
    needed = np.ceil((self.prompt_tokens + self.steps) / block) * block
    return float((needed * self.steps).sum() / self.steps.sum())

  def __str__(self) -> str:
    return (
      f"log-normal, median {self.median:g} s, mean {self.seconds.mean():.1f} s, at most"
      f" {LONGEST:g} s"
    )
