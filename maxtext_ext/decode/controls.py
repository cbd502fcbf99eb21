"""Controls of the choice of tokens: temperature, seeds, repetition penalty and limits of length."""

import hashlib
import math
from dataclasses import dataclass
from typing import Any

from maxtext_ext.decode.request import Request
from maxtext_ext.keys.decoding import CONTROLS, DecodingKeys

SPARE_TOKENS = 24  # of a text beside those for its seconds: the language, and short clips


@dataclass(frozen=True, kw_only=True)
class Controls:
  """Controls of a clip.

  Attributes:
    most: tokens that it may write in all.
    temperature: of drawn tokens; 0: the likeliest one is taken.
    repetition_penalty: as that of a request.
    seed: of what is drawn, 64 bits, not negative.
  """

  most: int
  temperature: float = 0.0
  repetition_penalty: float = 1.0
  seed: int = 0

  @property
  def is_greedy(self) -> bool:
    """Returns whether each token is the likeliest one."""
    return not self.temperature and self.repetition_penalty == 1

  @classmethod
  def of(cls, request: Request, config: Any) -> "Controls":
    """Completes the controls of a request by the keys of the configuration."""
    clip = request.utterance
    most = config.max_new_tokens
    if config.max_tokens_per_second:
      most = min(most, budget(config.max_tokens_per_second, clip.seconds))
    if request.max_new_tokens is not None:
      most = min(most, request.max_new_tokens)
    temperature, penalty = (
      getattr(config, name) if (value := getattr(request, name)) is None else value
      for name in ("temperature", "repetition_penalty")
    )
    seed = 0
    if temperature:
      given = request.seed
      if given is None:
        given = seed_of(config.sampling_seed, clip.dataset_name, clip.sample_id)
      seed = given % 2**64
    return cls(most=most, temperature=temperature, repetition_penalty=penalty, seed=seed)


def budget(tokens_per_second: float, seconds: float) -> int:
  """Computes the tokens of a text at a rate, with some to spare."""
  return math.ceil(tokens_per_second * seconds) + SPARE_TOKENS


def require_honoured(config: Any, honoured: frozenset[str]) -> None:
  """Checks that an engine honours the controls of a configuration.

  Raises:
    ValueError: it does not, or they are MaxText's, which no engine follows.
  """
  for name in CONTROLS:
    value = getattr(config, name)
    if name not in honoured and value != DecodingKeys.model_fields[name].default:
      raise ValueError(f"{name}={value}: decoding of this model cannot honour it; leave it out")
  if (strategy := config.decode_sampling_strategy) != "greedy":
    raise ValueError(
      f"decode_sampling_strategy={strategy} is for MaxText's own decoding and not followed here;"
      " give temperature= to draw tokens"
    )


def seed_of(seed: int, dataset: str, name: str) -> int:
  """Makes the seed of a request, which depends on nothing but the run's seed and the clip's id."""
  text = "\0".join((str(seed), dataset, name))
  return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), signed=True)
